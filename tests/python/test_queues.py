"""Queues that do more than keep messages, transactions and virtual hosts, with pika's own eyes."""

import time

import pika
import pytest
from conftest import PATIENCE, Broker, Process
from pika.exceptions import ChannelClosedByBroker, NackError, ProbableAccessDeniedError


def get(channel, queue):
    """The next message, which may still be on its way."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is not None:
            return properties, body
        time.sleep(0.01)
    pytest.fail(f"nothing came to {queue}")


def count(channel, queue):
    return channel.queue_declare(queue, passive=True).method.message_count


def test_an_expired_message_comes_to_the_dead_letter_exchange(channel, unique):
    dead = channel.queue_declare("", exclusive=True).method.queue
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    queue = channel.queue_declare("", exclusive=True, arguments=arguments).method.queue
    begun = time.monotonic()
    channel.basic_publish("", queue, b"late", pika.BasicProperties(expiration="200"))
    properties, body = get(channel, dead)
    assert body == b"late" and time.monotonic() - begun >= 0.2
    [death] = properties.headers["x-death"]
    assert (death["queue"], death["reason"], death["count"]) == (queue, "expired", 1)
    assert death["original-expiration"] == "200"
    assert abs(death["time"].timestamp() - time.time()) < 2 * PATIENCE
    assert properties.headers["x-first-death-reason"] == "expired"


def test_a_full_queue_refuses_and_its_publisher_hears_of_it(channel):
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    queue = channel.queue_declare("", exclusive=True, arguments=arguments).method.queue
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"first")
    with pytest.raises(NackError):
        channel.basic_publish("", queue, b"second")
    assert get(channel, queue)[1] == b"first"


def test_an_unused_queue_expires(channel, unique):
    queue = unique("expires")
    channel.queue_declare(queue, arguments={"x-expires": 100})
    deadline = time.monotonic() + PATIENCE
    with pytest.raises(ChannelClosedByBroker) as error:
        while time.monotonic() < deadline:
            time.sleep(0.3)
            # Asking is use.
            channel.queue_declare(queue, passive=True)
    assert error.value.reply_code == 404


def test_higher_priorities_come_first(channel):
    arguments = {"x-max-priority": 5}
    queue = channel.queue_declare("", exclusive=True, arguments=arguments).method.queue
    channel.confirm_delivery()
    for priority in [1, 5, 3]:
        properties = pika.BasicProperties(priority=priority)
        channel.basic_publish("", queue, str(priority), properties)
    assert [get(channel, queue)[1] for _ in range(3)] == [b"5", b"3", b"1"]


def test_a_transaction_is_all_or_nothing(broker, unique):
    queue = unique("transaction")
    ours, theirs = broker.connect(), broker.connect()
    channel, other = ours.channel(), theirs.channel()
    channel.queue_declare(queue, auto_delete=True)
    channel.tx_select()
    channel.basic_publish("", queue, b"never")
    channel.tx_rollback()
    channel.basic_publish("", queue, b"one")
    channel.basic_publish("", queue, b"two")
    assert count(other, queue) == 0
    channel.tx_commit()
    assert count(other, queue) == 2
    method, _, body = channel.basic_get(queue)
    channel.basic_ack(method.delivery_tag)
    channel.close()
    # Not committed: back again.
    assert body == b"one" and get(other, queue)[1] == b"one"
    other.queue_delete(queue)
    ours.close()
    theirs.close()


def test_a_delaying_exchange_delays(broker, channel, unique):
    if not broker.is_own:
        pytest.skip("a plugin elsewhere")
    exchange = unique("delayed")
    arguments = {"x-delayed-type": "direct"}
    channel.exchange_declare(exchange, "x-delayed-message", auto_delete=True, arguments=arguments)
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, exchange, "key")
    begun = time.monotonic()
    properties = pika.BasicProperties(headers={"x-delay": 200})
    channel.basic_publish(exchange, "key", b"held back", properties)
    assert get(channel, queue)[1] == b"held back"
    assert time.monotonic() - begun >= 0.2


def test_virtual_hosts_and_policies_of_the_configuration(tmp_path):
    configuration = tmp_path / "broker.toml"
    configuration.write_text(
        'vhosts = ["other"]\n'
        '[[user]]\nname = "guest"\npassword = "guest"\n'
        '[[policy]]\nname = "short"\nvhost = "other"\npattern = "^short"\n'
        "definition = { max-length = 1 }\n"
    )
    process = Process(2, "--config", str(configuration))
    try:
        url = f"amqp://guest:guest@127.0.0.1:{process.port}"
        here, there = Broker(f"{url}/%2f").connect(), Broker(f"{url}/other").connect()
        for connection, left in [(here, 3), (there, 1)]:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.queue_declare("short.q")
            for body in [b"1", b"2", b"3"]:
                channel.basic_publish("", "short.q", body)
            assert count(channel, "short.q") == left
            connection.close()
        with pytest.raises(ProbableAccessDeniedError, match="530.*vhost nowhere not found"):
            Broker(f"{url}/nowhere").connect()
    finally:
        assert process.stop() == 0
