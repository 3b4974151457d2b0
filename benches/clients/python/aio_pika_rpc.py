#!/usr/bin/env python3
"""RPC by aio-pika: many calls at once over one connection, each a future by its correlation id.

    aio_pika_rpc.py worker --in-flight 16 &
    aio_pika_rpc.py requester --in-flight 16"""

import asyncio
import signal
import time
import uuid

import aio_pika
from tally import DIRECT_REPLY_TO, PATIENCE_S, Tally, parse_arguments, print_report, wait_for_go


class Client:
    """Makes calls. Direct reply-to: the replies come to the channel that asks."""

    def __init__(self, queue):
        self.queue = queue
        self.waiting = {}
        self.foreign = 0

    async def connect(self, url):
        self.connection = await aio_pika.connect(url)
        # No confirms: the reply says more than a confirm would.
        self.channel = await self.connection.channel(publisher_confirms=False)
        replies = await self.channel.get_queue(DIRECT_REPLY_TO, ensure=False)
        await replies.consume(self.on_reply, no_ack=True)
        return self

    def on_reply(self, message):
        future = self.waiting.pop(message.correlation_id, None)
        if future is None:
            self.foreign += 1
        elif not future.done():
            future.set_result(message.body)

    async def call(self, body):
        correlation_id = str(uuid.uuid4())
        future = asyncio.get_running_loop().create_future()
        self.waiting[correlation_id] = future
        await self.channel.default_exchange.publish(
            aio_pika.Message(body, correlation_id=correlation_id, reply_to=DIRECT_REPLY_TO),
            routing_key=self.queue,
        )
        return await future


async def make_calls(client, tally):
    """One of those in flight: call after call until the time is over."""
    while tally.is_time_left():
        body = tally.next_body()
        started_s = time.perf_counter()
        reply = await client.call(body)
        tally.count_reply(started_s, body, reply)


async def request(arguments):
    client = await Client(arguments.queue).connect(arguments.url)
    tally = Tally(arguments)
    wait_for_go()
    tally.begin()
    callers = [asyncio.create_task(make_calls(client, tally)) for _ in range(arguments.in_flight)]
    wait_s = arguments.warmup + arguments.duration + PATIENCE_S
    done, stuck = await asyncio.wait(callers, timeout=wait_s)
    for caller in done:
        caller.result()
    for caller in stuck:
        caller.cancel()
    tally.foreign = client.foreign
    outcome = tally.outcome()
    await client.connection.close()
    return outcome


async def work(arguments):
    connection = await aio_pika.connect(arguments.url)
    channel = await connection.channel(publisher_confirms=False)
    await channel.set_qos(prefetch_count=arguments.in_flight)
    queue = await channel.declare_queue(arguments.queue, auto_delete=True)

    async def answer(message):
        async with message.process():
            reply = aio_pika.Message(message.body.upper(), correlation_id=message.correlation_id)
            # Not mandatory, which is aio-pika's default: RabbitMQ 3.10 would return each direct
            # reply as unroutable although it delivers it.
            await channel.default_exchange.publish(
                reply, routing_key=message.reply_to, mandatory=False
            )

    await queue.consume(answer)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("ready", flush=True)
    await stop.wait()
    await connection.close()


def main():
    arguments = parse_arguments(__doc__)
    if arguments.role == "worker":
        asyncio.run(work(arguments))
    else:
        print_report([asyncio.run(request(arguments))])


if __name__ == "__main__":
    main()
