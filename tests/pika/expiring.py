"""What expires goes to the dead-letter exchange: by the queue's time and by the message's own.

Run after examples/pika/dead_letter.py and its consumer, with no order left in the queues.
"""
import pika

connection = pika.BlockingConnection()
channel = connection.channel()


def next_dead():
    for method, properties, body in channel.consume("failed_orders", inactivity_timeout=60):
        assert method is not None, "nothing expired"
        channel.basic_ack(method.delivery_tag)
        return method, properties, body


# The message's own time is shorter than the 30 seconds of the queue.
channel.basic_publish("orders", "new", b"in a hurry", pika.BasicProperties(expiration="100"))
method, properties, body = next_dead()
assert (method.exchange, method.routing_key, body) == ("orders.dlx", "new", b"in a hurry"), method
assert properties.expiration is None, properties
[death] = properties.headers["x-death"]
assert death["original-expiration"] == "100", death
assert (death["reason"], death["count"]) == ("expired", 1), death
assert (death["queue"], death["exchange"]) == ("order_processing", "orders"), death
assert death["routing-keys"] == ["new"], death

# The queue's time.
brief = {"x-dead-letter-exchange": "orders.dlx", "x-message-ttl": 100}
channel.queue_declare("brief", arguments=brief)
channel.basic_publish("", "brief", b"late")
method, properties, body = next_dead()
assert (method.exchange, method.routing_key, body) == ("orders.dlx", "brief", b"late"), method
assert properties.headers["x-first-death-reason"] == "expired", properties
assert properties.headers["x-first-death-queue"] == "brief", properties
assert properties.headers["x-first-death-exchange"] == "", properties
connection.close()
