"""Runs a pika program against a broker on another port than 5672, without changing the program.

    run.py PORT PROGRAM

The program sees two things that it did not bring along: pika's default port is PORT, and there is a
function fulfill_order, which the consumer of examples/pika calls and leaves to its reader to write.
An order may say what fulfill_order is to do with it: "fail" raises, "stop" ends the program as
Ctrl-C would, before the order is acknowledged. Every other order is fulfilled.
"""
import builtins
import json
import runpy
import sys
from pathlib import Path

import pika


def fulfill_order(order):
    print("order", json.dumps(order), flush=True)
    if order.get("then") == "fail":
        raise ValueError(f"no stock for {order['order_id']}")
    if order.get("then") == "stop":
        sys.exit(0)


if __name__ == "__main__":
    port, program = sys.argv[1:]
    pika.connection.Parameters.DEFAULT_PORT = int(port)
    builtins.fulfill_order = fulfill_order
    # What the checks share lies beside this file.
    sys.path.insert(0, str(Path(__file__).parent))
    runpy.run_path(program, run_name="__main__")
