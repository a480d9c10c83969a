# consumer.py: takes the orders of producer.py or dead_letter.py, which are to be run first.
#
# fulfill_order is yours to write: as long as it is not there, every order fails and is refused. A refused
# order goes to the dead-letter exchange of its queue, if that has one (dead_letter.py), and is dropped
# otherwise.
import json

import pika

connection = pika.BlockingConnection(pika.ConnectionParameters(host="localhost"))
channel = connection.channel()

channel.basic_qos(prefetch_count=1)  # one message at a time per consumer

def process_order(ch, method, properties, body):
    try:
        fulfill_order(json.loads(body))
        ch.basic_ack(delivery_tag=method.delivery_tag)  # success: remove from queue
    except Exception as e:
        print(f"Failed to process order: {e}")
        ch.basic_nack(delivery_tag=method.delivery_tag, requeue=False)

channel.basic_consume(queue="order_processing", on_message_callback=process_order)
channel.start_consuming()
