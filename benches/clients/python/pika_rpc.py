#!/usr/bin/env python3
"""RPC by pika's BlockingConnection: one call at a time per connection, as its tutorial does.

    pika_rpc.py worker &
    pika_rpc.py requester --processes 8"""

import functools
import multiprocessing
import signal
import time
import uuid

import pika
from tally import DIRECT_REPLY_TO, PATIENCE_S, Tally, parse_arguments, print_report, wait_for_go


class Client:
    """Makes calls. Direct reply-to: the replies come to the channel that asks."""

    def __init__(self, url, queue):
        self.queue = queue
        self.connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self.connection.channel()
        self.channel.basic_consume(DIRECT_REPLY_TO, self.on_reply, auto_ack=True)
        self.correlation_id = None
        self.reply = None
        self.foreign = 0

    def on_reply(self, channel, method, properties, body):
        if properties.correlation_id == self.correlation_id and self.reply is None:
            self.reply = body
        else:
            self.foreign += 1

    def call(self, body):
        """The reply, or None if none came in time."""
        self.reply = None
        self.correlation_id = str(uuid.uuid4())
        self.channel.basic_publish(
            exchange="",
            routing_key=self.queue,
            properties=pika.BasicProperties(
                reply_to=DIRECT_REPLY_TO, correlation_id=self.correlation_id
            ),
            body=body,
        )
        patience_ends_s = time.monotonic() + PATIENCE_S
        while self.reply is None and time.monotonic() < patience_ends_s:
            self.connection.process_data_events(time_limit=PATIENCE_S)
        return self.reply


def make_calls(client, tally):
    tally.begin()
    while tally.is_time_left():
        body = tally.next_body()
        started_s = time.perf_counter()
        reply = client.call(body)
        if reply is None:
            break
        tally.count_reply(started_s, body, reply)
    tally.foreign = client.foreign
    return tally.outcome()


def request_in_process(arguments, barrier, outcomes):
    client = Client(arguments.url, arguments.queue)
    barrier.wait()  # connected
    barrier.wait()  # go
    outcomes.put(make_calls(client, Tally(arguments)))
    client.connection.close()


def request(arguments):
    """A blocking connection serves one caller: more callers are more processes."""
    barrier = multiprocessing.Barrier(arguments.processes + 1)
    outcomes = multiprocessing.Queue()
    children = [
        multiprocessing.Process(target=request_in_process, args=(arguments, barrier, outcomes))
        for _ in range(arguments.processes)
    ]
    for child in children:
        child.start()
    barrier.wait()
    wait_for_go()
    barrier.wait()
    wait_s = arguments.warmup + arguments.duration + 2 * PATIENCE_S
    gathered = [outcomes.get(timeout=wait_s) for _ in children]
    for child in children:
        child.join()
    print_report(gathered)


def answer(channel, method, properties, body):
    channel.basic_publish(
        exchange="",
        routing_key=properties.reply_to,
        properties=pika.BasicProperties(correlation_id=properties.correlation_id),
        body=body.upper(),
    )
    channel.basic_ack(method.delivery_tag)


def work(arguments):
    connection = pika.BlockingConnection(pika.URLParameters(arguments.url))
    channel = connection.channel()
    channel.queue_declare(arguments.queue, auto_delete=True)
    channel.basic_qos(prefetch_count=arguments.in_flight)
    channel.basic_consume(arguments.queue, answer)
    stop = functools.partial(connection.add_callback_threadsafe, channel.stop_consuming)
    signal.signal(signal.SIGTERM, lambda number, frame: stop())
    print("ready", flush=True)
    channel.start_consuming()
    connection.close()


def main():
    arguments = parse_arguments(__doc__)
    request(arguments) if arguments.role == "requester" else work(arguments)


if __name__ == "__main__":
    main()
