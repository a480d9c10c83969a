# consumer.py
import pika

connection = pika.BlockingConnection(pika.ConnectionParameters(host="localhost"))
channel = connection.channel()

channel.basic_qos(prefetch_count=1)  # one message at a time per consumer

def process_order(ch, method, properties, body):
    import json
    order = json.loads(body)
    try:
        fulfill_order(order)
        ch.basic_ack(delivery_tag=method.delivery_tag)  # success: remove from queue
    except Exception as e:
        print(f"Failed to process order: {e}")
        ch.basic_nack(delivery_tag=method.delivery_tag, requeue=False)  # dead-letter

channel.basic_consume(queue="order_processing", on_message_callback=process_order)
channel.start_consuming()
