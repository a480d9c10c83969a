"""A connection that is idle for longer than its heartbeat timeout stays open."""
import time

import pika

connection = pika.BlockingConnection(pika.ConnectionParameters(heartbeat=1))
channel = connection.channel()
# The broker gives a silent client up after two timeouts at most; pika sends its heartbeats
# meanwhile and would itself give up a broker that sends none.
until = time.monotonic() + 4
while time.monotonic() < until:
    connection.process_data_events(time_limit=until - time.monotonic())
channel.queue_declare("", exclusive=True)
connection.close()
