"""Connections to the broker under test (BROKER_URL), closed when the test ends."""

import os
import uuid

import pika
import pytest

# How long a test waits for something that must happen.
PATIENCE_S = 20


def parameters(**options):
    wanted = pika.URLParameters(os.environ["BROKER_URL"])
    for name, value in options.items():
        setattr(wanted, name, value)
    return wanted


@pytest.fixture
def connect():
    connections = []

    def connect(**options):
        connections.append(pika.BlockingConnection(parameters(**options)))
        return connections[-1]

    yield connect
    for connection in connections:
        if connection.is_open:
            connection.close()


@pytest.fixture
def channel(connect):
    return connect().channel()


@pytest.fixture
def name():
    return f"own.pika.{uuid.uuid4().hex}"


def take(channel, queue, count=1):
    """So many messages of a queue, as (properties, body), acknowledged."""
    taken = []
    for method, properties, body in channel.consume(queue, inactivity_timeout=PATIENCE_S):
        assert method is not None, f"only {len(taken)} of {count} messages came"
        channel.basic_ack(method.delivery_tag)
        taken.append((properties, body))
        if len(taken) == count:
            channel.cancel()
            return taken


def bodies(channel, queue, count=1):
    return [body for _, body in take(channel, queue, count)]
