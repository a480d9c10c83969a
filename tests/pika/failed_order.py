"""One order has failed, and lies with its story where examples/pika/dead_letter.py wants it."""
import json

import pika

connection = pika.BlockingConnection()
channel = connection.channel()
method, properties, body = channel.basic_get("failed_orders", auto_ack=True)
assert method is not None, "no order has failed"
assert method.message_count == 0, method
assert json.loads(body)["order_id"] == "ord-125", body
assert (method.exchange, method.routing_key) == ("orders.dlx", "new"), method
assert properties.delivery_mode == pika.spec.PERSISTENT_DELIVERY_MODE, properties
[death] = properties.headers["x-death"]
assert (death["reason"], death["count"]) == ("rejected", 1), death
assert (death["queue"], death["exchange"]) == ("order_processing", "orders"), death
assert death["routing-keys"] == ["new"], death
connection.close()
