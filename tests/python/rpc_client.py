"""The requester of the classic RPC tutorial: rpc_client.py URL QUEUE queue|direct NUMBER...

Asks for one Fibonacci number after another and prints the answers.
"""

import sys
import uuid

import pika

DIRECT = "amq.rabbitmq.reply-to"


class FibonacciClient:
    def __init__(self, parameters, queue, style):
        self.queue = queue
        self.connection = pika.BlockingConnection(parameters)
        self.channel = self.connection.channel()
        self.callback_queue = DIRECT
        if style == "queue":
            declared = self.channel.queue_declare(queue="", exclusive=True)
            self.callback_queue = declared.method.queue
        self.channel.basic_consume(
            queue=self.callback_queue, on_message_callback=self.on_response, auto_ack=True
        )
        self.response = None
        self.correlation_id = None

    def on_response(self, channel, method, properties, body):
        if self.correlation_id == properties.correlation_id:
            self.response = body

    def request(self, number):
        self.response = None
        self.correlation_id = str(uuid.uuid4())
        self.channel.basic_publish(
            exchange="",
            routing_key=self.queue,
            properties=pika.BasicProperties(
                reply_to=self.callback_queue, correlation_id=self.correlation_id
            ),
            body=str(number),
        )

    def call(self, number, time_limit=30):
        self.request(number)
        self.connection.process_data_events(time_limit=0)
        while self.response is None:
            self.connection.process_data_events(time_limit=time_limit)
            if self.response is None:
                raise TimeoutError(f"no answer in {time_limit} s")
        return int(self.response)


def main():
    url, queue, style, *numbers = sys.argv[1:]
    client = FibonacciClient(pika.URLParameters(url), queue, style)
    for number in numbers:
        print(client.call(int(number)))
    client.connection.close()


if __name__ == "__main__":
    main()
