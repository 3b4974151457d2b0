"""The worker of the classic RPC tutorial: rpc_server.py URL QUEUE [hang].

Takes one request at a time, answers to its reply-to with its correlation id, then acknowledges.
With `hang` it says that it took a request and never answers.
"""

import sys
import threading

import pika


def fibonacci(number):
    previous, current = 0, 1
    for _ in range(number):
        previous, current = current, previous + current
    return previous


def on_request(channel, method, properties, body):
    if "hang" in sys.argv:
        print("took redelivered" if method.redelivered else "took")
        threading.Event().wait()
    channel.basic_publish(
        exchange="",
        routing_key=properties.reply_to,
        properties=pika.BasicProperties(correlation_id=properties.correlation_id),
        body=str(fibonacci(int(body))),
    )
    channel.basic_ack(delivery_tag=method.delivery_tag)


def main():
    url, queue = sys.argv[1:3]
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    channel.queue_declare(queue=queue)
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(queue=queue, on_message_callback=on_request)
    print("ready")
    channel.start_consuming()


if __name__ == "__main__":
    main()
