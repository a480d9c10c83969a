"""What pika raises for what a client does wrong: the codes that programs tell faults apart by."""
import pika
from pika.exceptions import (ChannelClosedByBroker, ConnectionClosedByBroker,
                             ProbableAccessDeniedError, ProbableAuthenticationError)

connection = pika.BlockingConnection()
setup = connection.channel()
setup.queue_declare("plain")
setup.exchange_declare("plain", "direct")
setup.basic_publish("", "plain", b"one")
other = pika.BlockingConnection()
other.channel().queue_declare("theirs", exclusive=True)


def closes_channel(code, text, act):
    channel = connection.channel()
    try:
        act(channel)
        # Not every method has a reply to wait for; this one has.
        channel.queue_declare("plain", passive=True)
    except ChannelClosedByBroker as error:
        assert error.reply_code == code and text in error.reply_text, (code, text, error)
        assert channel.is_closed and connection.is_open
    else:
        raise SystemExit(f"{code} {text!r} did not come")


def closes_connection(code, text, act):
    doomed = pika.BlockingConnection()
    try:
        act(doomed.channel())
        doomed.channel()
    except ConnectionClosedByBroker as error:
        assert error.reply_code == code and text in error.reply_text, (code, text, error)
    else:
        raise SystemExit(f"{code} {text!r} did not come")


closes_channel(404, "no queue 'missing' in vhost '/'",
               lambda c: c.queue_declare("missing", passive=True))
closes_channel(404, "no exchange 'missing' in vhost '/'",
               lambda c: c.exchange_declare("missing", passive=True))
closes_channel(404, "no exchange 'missing' in vhost '/'", lambda c: c.basic_publish("missing", "", b""))
closes_channel(404, "no queue 'missing' in vhost '/'", lambda c: c.basic_get("missing"))
closes_channel(403, "contains reserved prefix 'amq.*'", lambda c: c.queue_declare("amq.mine"))
closes_channel(403, "operation not permitted on the default exchange", lambda c: c.exchange_delete(""))
closes_channel(405, "cannot obtain exclusive access to locked queue 'theirs'",
               lambda c: c.queue_declare("theirs", exclusive=True))
closes_channel(406, "inequivalent arg 'durable' for queue 'plain' in vhost '/'",
               lambda c: c.queue_declare("plain", durable=True))
closes_channel(406, "inequivalent arg 'type' for exchange 'plain' in vhost '/'",
               lambda c: c.exchange_declare("plain", "fanout"))
closes_channel(406, "invalid arg 'x-message-ttl' for queue 'new' in vhost '/'",
               lambda c: c.queue_declare("new", arguments={"x-message-ttl": -1}))
closes_channel(406, "unknown delivery tag 7", lambda c: c.basic_ack(7))
closes_channel(406, "queue 'plain' in vhost '/' not empty",
               lambda c: c.queue_delete("plain", if_empty=True))
closes_connection(540, "prefetch_size!=0 (1)", lambda c: c.basic_qos(prefetch_size=1))
closes_connection(540, "requeue=false", lambda c: c.basic_recover(requeue=False))

# The others went on, and nothing was lost on the way.
assert setup.queue_declare("plain", passive=True).method.message_count == 1
other.close()
connection.close()

wrong = pika.ConnectionParameters(credentials=pika.PlainCredentials("guest", "wrong"))
for parameters, refusal in [(wrong, ProbableAuthenticationError),
                            (pika.ConnectionParameters(virtual_host="missing"),
                             ProbableAccessDeniedError)]:
    try:
        pika.BlockingConnection(parameters)
        raise SystemExit(f"{parameters} got in")
    except refusal:
        pass
