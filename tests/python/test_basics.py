"""What a program written with pika relies on beside calls."""

import datetime
import decimal
import time

import pika
import pytest
from conftest import PATIENCE
from pika.exceptions import (
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    UnroutableError,
)


def receive(channel, queue):
    """The next message of a queue."""
    for method, properties, body in channel.consume(queue, inactivity_timeout=PATIENCE):
        assert method is not None, "nothing was delivered"
        channel.basic_ack(method.delivery_tag)
        channel.cancel()
        return properties, body


def test_every_publish_is_confirmed(channel):
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.confirm_delivery()
    for number in range(20):
        channel.basic_publish("", queue, str(number))
    assert channel.queue_declare(queue, passive=True).method.message_count == 20
    channel.basic_publish("", "nowhere.to.be.found", b"dropped, and confirmed")


def test_a_mandatory_message_without_a_queue_is_returned(channel):
    channel.confirm_delivery()
    with pytest.raises(UnroutableError) as error:
        channel.basic_publish("", "nowhere.to.be.found", b"back", mandatory=True)
    [returned] = error.value.messages
    assert returned.method.reply_code == 312
    assert returned.method.reply_text == "NO_ROUTE"
    assert returned.body == b"back"


def test_get_counts_down_to_empty(channel):
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.confirm_delivery()
    for body in [b"first", b"second"]:
        channel.basic_publish("", queue, body)
    method, _, body = channel.basic_get(queue)
    assert (body, method.message_count, method.redelivered) == (b"first", 1, False)
    channel.basic_nack(method.delivery_tag)
    method, _, body = channel.basic_get(queue)
    assert (body, method.redelivered) == (b"first", True)
    channel.basic_ack(method.delivery_tag)
    method, _, body = channel.basic_get(queue, auto_ack=True)
    assert (body, method.message_count) == (b"second", 0)
    assert channel.basic_get(queue) == (None, None, None)


def test_a_passive_declare_tells_what_is_there(channel, unique):
    queue = unique("passive")
    channel.queue_declare(queue, auto_delete=True)
    declared = channel.queue_declare(queue, passive=True).method
    assert (declared.queue, declared.message_count, declared.consumer_count) == (queue, 0, 0)
    channel.queue_delete(queue)
    with pytest.raises(ChannelClosedByBroker) as error:
        channel.queue_declare(queue, passive=True)
    assert error.value.reply_code == 404
    assert error.value.reply_text == f"NOT_FOUND - no queue '{queue}' in vhost '/'"


def test_channel_errors_carry_code_and_text_and_spare_the_connection(broker, unique):
    connection = broker.connect()
    queue = unique("errors")
    connection.channel().queue_declare(queue, exclusive=True)

    def refused(code, text, action):
        channel = connection.channel()
        with pytest.raises(ChannelClosedByBroker) as error:
            action(channel)
            channel.queue_declare(queue, passive=True)
        assert (error.value.reply_code, error.value.reply_text) == (code, text)

    inequivalent = (
        f"PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue '{queue}' in vhost '/': "
        "received 'true' but current is 'false'"
    )
    refused(
        406,
        inequivalent,
        lambda channel: channel.queue_declare(queue, exclusive=True, auto_delete=True),
    )
    refused(
        404,
        "NOT_FOUND - no exchange 'absent' in vhost '/'",
        lambda channel: channel.basic_publish("absent", "key", b""),
    )
    refused(
        406,
        "PRECONDITION_FAILED - fast reply consumer does not exist",
        lambda channel: channel.basic_publish(
            "", queue, b"", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to")
        ),
    )
    assert connection.is_open
    connection.close()


def test_another_connections_exclusive_queue_is_locked(broker, channel):
    queue = channel.queue_declare("", exclusive=True).method.queue
    other = broker.connect()
    with pytest.raises(ChannelClosedByBroker) as error:
        other.channel().basic_consume(queue, lambda *delivery: None)
    assert error.value.reply_code == 405
    assert error.value.reply_text.startswith("RESOURCE_LOCKED - cannot obtain exclusive access")
    other.close()


def test_a_wrong_password_is_told(broker):
    credentials = pika.PlainCredentials("guest", "wrong")
    with pytest.raises(ProbableAuthenticationError, match="ACCESS_REFUSED"):
        broker.connect(credentials=credentials)


def test_an_unknown_vhost_is_told(broker):
    with pytest.raises(ProbableAccessDeniedError, match="530.*NOT_ALLOWED"):
        broker.connect(virtual_host="elsewhere")


def test_heartbeats_keep_an_idle_connection_alive(broker):
    connection = broker.connect(heartbeat=1)
    channel = connection.channel()
    connection.process_data_events(time_limit=3.5)
    assert connection.is_open
    channel.queue_declare("", exclusive=True)
    connection.close()


def test_a_peer_without_a_pulse_is_closed(broker):
    # pika sends heartbeats only while it is given time: this one is given none.
    connection = broker.connect(heartbeat=1)
    queue = connection.channel().queue_declare("", exclusive=True).method.queue
    observer = broker.connect()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            observer.channel().queue_declare(queue, passive=True)
        except ChannelClosedByBroker as error:
            if error.reply_code == 404:
                break
        time.sleep(0.1)
    else:
        pytest.fail("the dead connection's queue is still there")
    observer.close()


def test_a_new_secret_is_accepted(broker):
    connection = broker.connect()
    connection.update_secret("guest", "renewed")
    connection.channel()
    connection.close()


def test_a_consumer_hears_that_its_queue_was_deleted(broker, channel, unique):
    queue = unique("deleted")
    cancelled = []
    channel.queue_declare(queue)
    channel.add_on_cancel_callback(cancelled.append)
    tag = channel.basic_consume(queue, lambda *delivery: None)
    other = broker.connect()
    other.channel().queue_delete(queue)
    other.close()
    deadline = time.monotonic() + PATIENCE
    while not cancelled and time.monotonic() < deadline:
        channel.connection.process_data_events(time_limit=1)
    assert [frame.method.consumer_tag for frame in cancelled] == [tag]


def test_a_cancelled_consumer_gets_nothing_more(channel):
    queue = channel.queue_declare("", exclusive=True).method.queue
    bodies = []
    tag = channel.basic_consume(queue, lambda *delivery: bodies.append(delivery[3]), auto_ack=True)
    channel.basic_cancel(tag)
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"waits")
    assert channel.queue_declare(queue, passive=True).method.message_count == 1
    assert bodies == []
    assert receive(channel, queue)[1] == b"waits"


def test_all_fourteen_properties_make_the_round_trip(broker, channel):
    queue = channel.queue_declare("", exclusive=True).method.queue
    headers = {
        "bool": True,
        "int": -(2**31),
        "long": 2**62,
        "text": "\u00fc\u4e16",
        "bytes": b"\x00\xff\xce",
        "none": None,
        "decimal": decimal.Decimal("3.14"),
        "time": datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone.utc),
        "list": [1, "two", [3], {"four": None}],
        "table": {"deep": {"deeper": [False]}},
        "": "an empty name",
    }
    sent = pika.BasicProperties(
        content_type="application/octet-stream",
        content_encoding="identity",
        headers=headers,
        delivery_mode=1,
        priority=255,
        correlation_id="c" * 255,
        reply_to="a.callback.queue",
        message_id="\u00fc",
        timestamp=2**40,
        type="kind",
        user_id="guest",
        app_id="application",
        cluster_id="cluster",
    )
    publisher = broker.connect()
    publisher.channel().basic_publish("", queue, b"\x00\xff", sent)
    received, body = receive(channel, queue)
    assert body == b"\x00\xff"
    assert b"".join(received.encode()) == b"".join(sent.encode())
    for name, value in sent.__dict__.items():
        if name != "headers":
            assert getattr(received, name) == value, name
    publisher.close()


@pytest.mark.parametrize("size", [0, 1, 131_064, 131_065, 5_000_000])
def test_bodies_of_every_size_arrive(channel, size):
    queue = channel.queue_declare("", exclusive=True).method.queue
    body = bytes(range(256)) * (size // 256 + 1)
    channel.basic_publish("", queue, body[:size])
    assert receive(channel, queue)[1] == body[:size]


def test_a_publisher_hears_that_it_is_blocked_and_when_no_more(small_broker, unique):
    connection = small_broker.connect()
    heard = []
    connection.add_on_connection_blocked_callback(lambda _, method: heard.append(method.method))
    connection.add_on_connection_unblocked_callback(lambda _, method: heard.append(method.method))
    channel = connection.channel()
    queue = unique("full")
    channel.queue_declare(queue)
    for _ in range(32):
        channel.basic_publish("", queue, bytes(32 * 1024))

    def expect(name):
        deadline = time.monotonic() + PATIENCE
        while not (heard and heard[-1].NAME == name) and time.monotonic() < deadline:
            connection.process_data_events(time_limit=0.1)
        assert heard[-1].NAME == name
        return heard[-1]

    assert expect("Connection.Blocked").reason
    other = small_broker.connect()
    drained = other.channel()
    for _, _ in zip(range(32), drained.consume(queue, auto_ack=True, inactivity_timeout=PATIENCE)):
        pass
    expect("Connection.Unblocked")
    # Whatever was published meanwhile has arrived: there was nothing behind the last message.
    assert channel.queue_declare(queue, passive=True).method.message_count == 0
    assert len(heard) % 2 == 0
    other.close()
    connection.close()


def test_sigterm_tells_clients_why(broker):
    if not broker.is_own:
        pytest.skip("SIGTERM would stop a broker that is not ours")
    connection = broker.connect()
    broker.process.child.terminate()
    with pytest.raises(ConnectionClosedByBroker) as error:
        connection.process_data_events(time_limit=PATIENCE)
    assert error.value.reply_code == 320
    assert broker.process.child.wait(PATIENCE) == 0
