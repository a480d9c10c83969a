"""Publisher confirms: what pika raises for messages that are returned or refused."""
import pika
from pika.exceptions import NackError, UnroutableError

connection = pika.BlockingConnection()
channel = connection.channel()
channel.confirm_delivery()

# Mandatory, but the exchange knows no such queue.
try:
    channel.basic_publish("", "nowhere", b"lost", pika.BasicProperties(app_id="test"), mandatory=True)
    raise SystemExit("an unroutable message was taken")
except UnroutableError as error:
    [returned] = error.messages
    assert (returned.method.reply_code, returned.method.reply_text) == (312, "NO_ROUTE"), returned
    assert (returned.method.exchange, returned.method.routing_key) == ("", "nowhere"), returned
    assert (returned.properties.app_id, returned.body) == ("test", b"lost"), returned

# Not mandatory: dropped, and that is confirmed.
channel.basic_publish("", "nowhere", b"dropped")

# A full queue that is to refuse what comes.
full = {"x-max-length": 1, "x-overflow": "reject-publish"}
channel.queue_declare("full", arguments=full)
channel.basic_publish("", "full", b"first", mandatory=True)
try:
    channel.basic_publish("", "full", b"second", mandatory=True)
    raise SystemExit("a full queue took a message")
except NackError as error:
    assert error.messages == [], error.messages

# The channel is good for more.
assert channel.queue_purge("full").method.message_count == 1
channel.basic_publish("", "full", b"third")
_, _, body = channel.basic_get("full", auto_ack=True)
assert body == b"third", body

# All properties and every kind of header come out as they went in.
sent = pika.BasicProperties(
    content_type="text/plain", content_encoding="utf-8",
    headers={"text": "é", "number": 7, "large": 1 << 40, "flag": True, "nothing": None,
             "list": [1, "two", {"three": 3}], "table": {"bytes": b"\xff\x00"}},
    delivery_mode=2, priority=9, correlation_id="c", reply_to="r", expiration="60000",
    message_id="m", timestamp=1600000000, type="t", user_id="guest", app_id="a", cluster_id="k")
body = bytes(range(256)) * 1200  # more than two frames
channel.queue_purge("full")
channel.basic_publish("", "full", body, sent)
method, got, received = channel.basic_get("full", auto_ack=True)
assert got == sent, (got, sent)
assert received == body
assert (method.redelivered, method.message_count) == (False, 0), method
connection.close()
