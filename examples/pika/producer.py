# producer.py
import pika
import json

connection = pika.BlockingConnection(pika.ConnectionParameters(host="localhost"))
channel = connection.channel()

# Declare exchange and queue
channel.exchange_declare(exchange="orders", exchange_type="direct", durable=True)
channel.queue_declare(queue="order_processing", durable=True)
channel.queue_bind(exchange="orders", queue="order_processing", routing_key="new")

# A persistent message in a durable queue survives a restart of the broker, once that has written it;
# after channel.confirm_delivery() each basic_publish waits until it has.
channel.basic_publish(
    exchange="orders",
    routing_key="new",
    body=json.dumps({"order_id": "ord-123", "user_id": "u-001", "total": 49.99}),
    properties=pika.BasicProperties(
        delivery_mode=pika.spec.PERSISTENT_DELIVERY_MODE,
        content_type="application/json",
    )
)

connection.close()
