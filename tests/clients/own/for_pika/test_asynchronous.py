"""pika's asynchronous adapters: the same life of a connection on each event loop of the standard
library."""

import asyncio

import pika
import pytest
from conftest import PATIENCE_S, parameters
from pika.adapters.asyncio_connection import AsyncioConnection


class Life:
    """Connects, declares, consumes, publishes with confirms, and closes; notes what happens."""

    def __init__(self, queue, count):
        self.queue = queue
        self.count = count
        self.confirmed = 0
        self.bodies = []
        self.cancelled = False
        self.closed_because = None

    def opened(self, connection):
        self.connection = connection
        connection.channel(on_open_callback=self.channel_opened)

    def channel_opened(self, channel):
        self.channel = channel
        channel.confirm_delivery(self.told, callback=lambda _: channel.queue_declare(
            self.queue, exclusive=True, callback=self.declared))

    def told(self, frame):
        assert isinstance(frame.method, pika.spec.Basic.Ack)
        self.confirmed = max(self.confirmed, frame.method.delivery_tag)
        self.end_if_done()

    def declared(self, _):
        self.channel.basic_qos(prefetch_count=5, callback=self.limited)

    def limited(self, _):
        self.tag = self.channel.basic_consume(self.queue, self.received)
        for number in range(self.count):
            self.channel.basic_publish("", self.queue, str(number))

    def received(self, channel, method, properties, body):
        self.bodies.append(body)
        channel.basic_ack(method.delivery_tag)
        self.end_if_done()

    def end_if_done(self):
        if not self.cancelled and self.confirmed == self.count == len(self.bodies):
            self.cancelled = True
            self.channel.basic_cancel(self.tag, callback=lambda _: self.connection.close())


def check(life):
    assert life.bodies == [str(number).encode() for number in range(life.count)]
    assert isinstance(life.closed_because, pika.exceptions.ConnectionClosedByClient)


def test_a_life_on_the_select_loop(name):
    life = Life(name, 100)

    def closed(connection, why):
        life.closed_because = why
        connection.ioloop.stop()

    connection = pika.SelectConnection(
        parameters(), on_open_callback=life.opened, on_close_callback=closed,
        on_open_error_callback=closed,
    )
    connection.ioloop.call_later(PATIENCE_S, connection.ioloop.stop)
    connection.ioloop.start()
    check(life)


def test_a_life_on_asyncio(name):
    life = Life(name, 100)

    async def live():
        ended = asyncio.get_running_loop().create_future()

        def closed(_, why):
            life.closed_because = why
            ended.set_result(None)

        AsyncioConnection(
            parameters(), on_open_callback=life.opened, on_close_callback=closed,
            on_open_error_callback=closed,
        )
        await asyncio.wait_for(ended, PATIENCE_S)

    asyncio.run(live())
    check(life)


@pytest.mark.parametrize("code, method", [
    (404, lambda channel, name: channel.queue_declare(name, passive=True)),
    (403, lambda channel, name: channel.queue_declare("amq.mine")),
    (406, lambda channel, name: channel.basic_ack(7)),
    (404, lambda channel, name: channel.basic_publish(name, "", b"")),
])
def test_a_channel_error_closes_only_its_channel(name, code, method):
    seen = []

    def opened(connection):
        connection.channel(on_open_callback=channel_opened)

    def channel_opened(channel):
        channel.add_on_close_callback(channel_closed)
        method(channel, name)

    def channel_closed(channel, why):
        seen.append(why.reply_code)
        channel.connection.channel(on_open_callback=lambda again: again.connection.close())

    def closed(connection, why):
        seen.append(type(why))
        connection.ioloop.stop()

    connection = pika.SelectConnection(
        parameters(), on_open_callback=opened, on_close_callback=closed,
        on_open_error_callback=closed,
    )
    connection.ioloop.call_later(PATIENCE_S, connection.ioloop.stop)
    connection.ioloop.start()
    assert seen == [code, pika.exceptions.ConnectionClosedByClient]
