"""The image as Testcontainers for Python starts it: with its defaults, and with a user, a virtual host and a port."""

import sys

import pika
from testcontainers.rabbitmq import RabbitMqContainer

image = sys.argv[1]
for options in ({}, {"port": 5673, "username": "eva", "password": "secret", "vhost": "orders"}):
    with RabbitMqContainer(image, **options) as container:
        with pika.BlockingConnection(container.get_connection_params()) as connection:
            channel = connection.channel()
            queue = channel.queue_declare("", exclusive=True).method.queue
            channel.basic_publish("", queue, b"hello")
            _, _, body = channel.basic_get(queue, auto_ack=True)
            assert body == b"hello", body
