"""pika's generator of messages: acknowledged, refused, and what is left when it is cancelled."""
import pika

connection = pika.BlockingConnection()
channel = connection.channel()
channel.queue_declare("work")
for number in range(10):
    channel.basic_publish("", "work", b"%d" % number)

channel.basic_qos(prefetch_count=4)
seen = []
for method, _, body in channel.consume("work", inactivity_timeout=60):
    assert method is not None, f"nothing came after {seen}"
    seen.append((int(body), method.redelivered))
    if body == b"2" and not method.redelivered:
        channel.basic_nack(method.delivery_tag, requeue=True)
    elif body == b"7":
        break
    else:
        channel.basic_ack(method.delivery_tag)
# 2 came back, marked; 8 and 9 may be on the way and are requeued with 7.
assert [number for number, again in seen if not again] == list(range(8)), seen
assert [number for number, again in seen if again] == [2], seen
channel.cancel()
# The last message was unacknowledged on this channel; recover gives it back.
channel.basic_recover(requeue=True)

left = []
while True:
    method, _, body = channel.basic_get("work")
    if method is None:
        break
    left.append((int(body), method.redelivered))
    channel.basic_ack(method.delivery_tag)
assert [number for number, _ in left] == [7, 8, 9], left
assert left[0] == (7, True), left
connection.close()
