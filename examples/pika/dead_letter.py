# dead_letter.py: where do orders go that fail, or that nobody takes in time?
#
# Declares what producer.py declares, with a dead-letter exchange beside it, and publishes an order.
# A queue cannot change its arguments: run this against a broker that does not have the queue
# order_processing from producer.py yet (or delete it first), and consumer.py afterwards.
import pika
import json

connection = pika.BlockingConnection(pika.ConnectionParameters(host="localhost"))
channel = connection.channel()

# An exchange keeps nothing: without a queue behind it, dead letters would be dropped.
channel.exchange_declare(exchange="orders.dlx", exchange_type="fanout", durable=True)
channel.queue_declare(queue="failed_orders", durable=True)
channel.queue_bind(exchange="orders.dlx", queue="failed_orders")

# What a consumer refuses with requeue=False, and what expires, goes to the dead-letter exchange.
#
# No argument counts how often an order is tried: consumer.py refuses one that fails, so that it is tried
# once. What a consumer requeues comes back without end, unless the queue is a quorum queue with
# "x-delivery-limit": a message that came back more often than that becomes a dead letter.
channel.queue_declare(
    queue="order_processing",
    durable=True,
    arguments={
        "x-dead-letter-exchange": "orders.dlx",
        # An order that has waited in the queue for 30 s expires. One that a consumer holds does not, however
        # long that takes; when it comes back, it has expired.
        "x-message-ttl": 30000,
    }
)

channel.exchange_declare(exchange="orders", exchange_type="direct", durable=True)
channel.queue_bind(exchange="orders", queue="order_processing", routing_key="new")

channel.basic_publish(
    exchange="orders",
    routing_key="new",
    body=json.dumps({"order_id": "ord-124", "user_id": "u-001", "total": 49.99}),
    properties=pika.BasicProperties(
        delivery_mode=pika.spec.PERSISTENT_DELIVERY_MODE,
        content_type="application/json",
    )
)

connection.close()
