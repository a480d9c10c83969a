"""Queues that belong to a connection or to their consumers, and names that the broker gives."""
import pika
from pika.exceptions import ChannelClosedByBroker

first, second = pika.BlockingConnection(), pika.BlockingConnection()
channel = first.channel()


def is_there(queue):
    asking = second.channel()
    try:
        asking.queue_declare(queue, passive=True)
        return True
    except ChannelClosedByBroker as error:
        assert error.reply_code in (404, 405), error
        return error.reply_code == 405


own = channel.queue_declare("", exclusive=True).method.queue
assert own.startswith("amq.gen-"), own
assert is_there(own)
# Others may send to it, and its owner alone reads.
sending = second.channel()
sending.confirm_delivery()
sending.basic_publish("", own, b"hello", mandatory=True)
_, _, body = channel.basic_get(own, auto_ack=True)
assert body == b"hello", body

# Gone with its last consumer.
channel.queue_declare("fleeting", auto_delete=True)
tag = channel.basic_consume("fleeting", lambda *_: None)
assert is_there("fleeting")
channel.basic_cancel(tag)
assert not is_there("fleeting")

# Gone with its connection: close-ok comes after the queue went.
first.close()
assert not is_there(own)

# A consumer whose queue is deleted hears of it.
channel = second.channel()
channel.queue_declare("doomed")
cancelled = []
channel.add_on_cancel_callback(cancelled.append)
tag = channel.basic_consume("doomed", lambda *_: None)
second.channel().queue_delete("doomed")
while not cancelled:
    second.process_data_events(time_limit=1)
assert cancelled[0].method.consumer_tag == tag, cancelled
second.close()
