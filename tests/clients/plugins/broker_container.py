"""A pytest plugin: the fixtures that aiormq's tests expect and its package lacks."""

import os
from types import SimpleNamespace

import pytest
from yarl import URL

# The discard service's: nobody listens. It would be the port for TLS.
NO_PORT = 9


@pytest.fixture(scope="session")
def rabbitmq_container():
    ports = {"5672/tcp": int(os.environ["BROKER_PORT"]), "5671/tcp": NO_PORT}
    return SimpleNamespace(host="127.0.0.1", ports=ports)


@pytest.fixture(scope="session")
def amqp_direct_url(rabbitmq_container):
    return URL.build(
        scheme="amqp", user="guest", password="guest", path="//",
        host=rabbitmq_container.host, port=rabbitmq_container.ports["5672/tcp"],
    )
