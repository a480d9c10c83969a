"""What the tests with restarts have a Celery application do, as a process of its own.

    orders.py send NAME COUNT [COUNTDOWN]    asks for tasks that each leave a line in the file NAME
    orders.py wait NAME COUNT                waits until it has that many different lines
    orders.py exactly NAME COUNT             the same, and says which line there is more than once
"""
import sys
import time

import shop

verb, name, count, *rest = sys.argv[1:]
count = int(count)
if verb == "send":
    # Returns once the broker has confirmed them.
    shop.app.conf.broker_transport_options = {"confirm_publish": True}
    for number in range(count):
        countdown = float(rest[0]) if rest else None
        shop.slow_note.apply_async((name, number), countdown=countdown)
else:
    deadline = time.monotonic() + 50
    wanted = {str(number) for number in range(count)}
    lines = []
    while set(lines) != wanted:
        if time.monotonic() > deadline:
            sys.exit(f"{len(set(lines))} of {count} tasks are done")
        time.sleep(0.1)
        file = shop.RESULTS / name
        lines = file.read_text().split() if file.exists() else []
    if verb == "exactly" and len(lines) != count:
        sys.exit(f"done more than once: {sorted(line for line in wanted if lines.count(line) > 1)}")
