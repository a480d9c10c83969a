"""Publishes a durable message and gets it again: messages.py publish|consume|both PORT USER PASSWORD."""

import sys

import pika

what, port, user, password = sys.argv[1:]
parameters = pika.ConnectionParameters("127.0.0.1", int(port), credentials=pika.PlainCredentials(user, password))
with pika.BlockingConnection(parameters) as connection:
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare("image", durable=True)
    if what in ("publish", "both"):
        persistent = pika.BasicProperties(delivery_mode=2)
        channel.basic_publish("", "image", b"hello", persistent, mandatory=True)
    if what in ("consume", "both"):
        method, _, body = channel.basic_get("image", auto_ack=True)
        assert method is not None and body == b"hello", body
