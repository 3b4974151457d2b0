"""pika's blocking interface, method by method."""

import threading
import time

import pika
import pytest
from conftest import PATIENCE_S, bodies, parameters, take
from pika.exceptions import (
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    DuplicateConsumerTag,
    NackError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    UnroutableError,
)


def closed_with(code, call):
    """The reply text of the channel error that the call ends in."""
    with pytest.raises(ChannelClosedByBroker) as error:
        call()
    assert error.value.reply_code == code
    return error.value.reply_text


def test_a_connection_opens_closes_and_reports_what_the_server_can(connect):
    connection = connect()
    for ability in ("basic_nack", "consumer_cancel_notify", "exchange_exchange_bindings",
                    "publisher_confirms"):
        assert getattr(connection, f"{ability}_supported"), ability
    connection.close()
    assert connection.is_closed


def test_a_wrong_password_is_refused():
    with pytest.raises(ProbableAuthenticationError):
        pika.BlockingConnection(parameters(credentials=pika.PlainCredentials("guest", "wrong")))


def test_an_unknown_virtual_host_is_refused():
    with pytest.raises((ProbableAccessDeniedError, ConnectionClosedByBroker)):
        pika.BlockingConnection(parameters(virtual_host="there.is.none"))


def test_heartbeats_keep_an_idle_connection(connect):
    connection = connect(heartbeat=1)
    channel = connection.channel()
    connection.sleep(3.5)
    assert channel.queue_declare("", exclusive=True).method.queue


def test_a_secret_can_be_renewed(connect):
    connection = connect()
    connection.update_secret("guest", "for no reason")
    connection.channel()


def test_timers_and_calls_of_other_threads_run_while_events_are_processed(connect):
    connection, seen = connect(), []
    connection.call_later(0.1, lambda: seen.append("timer"))
    thread = threading.Thread(
        target=connection.add_callback_threadsafe, args=[lambda: seen.append("thread")],
    )
    thread.start()
    thread.join()
    deadline = time.monotonic() + PATIENCE_S
    while len(seen) < 2 and time.monotonic() < deadline:
        connection.process_data_events(time_limit=0.1)
    assert sorted(seen) == ["thread", "timer"]


def test_channels_have_numbers_of_their_own(connect):
    connection = connect()
    first, second, chosen = connection.channel(), connection.channel(), connection.channel(77)
    assert (first.channel_number, second.channel_number, chosen.channel_number) == (1, 2, 77)
    first.close()
    assert connection.channel().channel_number == 1


def test_flow_can_be_stopped_and_started_again(channel):
    assert channel.flow(True) is True


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers"])
def test_an_exchange_of_each_type_routes_to_its_queue(channel, name, kind):
    channel.exchange_declare(name, kind, auto_delete=True)
    channel.exchange_declare(name, kind, passive=True)
    channel.queue_declare(name, exclusive=True)
    key = "a.*" if kind == "topic" else "a.b"
    channel.queue_bind(name, name, key, {"x-match": "all", "h": 1} if kind == "headers" else None)
    channel.basic_publish(name, "a.b", kind, pika.BasicProperties(headers={"h": 1}))
    assert bodies(channel, name) == [kind.encode()]
    channel.queue_unbind(name, name, key, {"x-match": "all", "h": 1} if kind == "headers" else None)
    text = closed_with(404, lambda: channel.exchange_declare(name, kind, passive=True))
    assert text == f"NOT_FOUND - no exchange '{name}' in vhost '/'"


def test_an_exchange_is_bound_to_another(channel, name):
    source, destination = name + ".source", name + ".destination"
    channel.exchange_declare(source, "fanout")
    channel.exchange_declare(destination, "fanout")
    channel.queue_declare(name, exclusive=True)
    channel.queue_bind(name, destination)
    channel.exchange_bind(destination, source)
    channel.basic_publish(source, "", b"twice around")
    assert bodies(channel, name) == [b"twice around"]
    channel.exchange_unbind(destination, source)
    channel.basic_publish(source, "", b"dropped")
    assert channel.basic_get(name) == (None, None, None)
    channel.exchange_delete(source)
    channel.exchange_delete(destination)


def test_an_exchange_that_is_used_is_not_deleted_if_unused_is_asked_for(channel, name):
    channel.exchange_declare(name, "fanout", auto_delete=True)
    channel.queue_declare(name, exclusive=True)
    channel.queue_bind(name, name)
    text = closed_with(406, lambda: channel.exchange_delete(name, if_unused=True))
    assert text == f"PRECONDITION_FAILED - exchange '{name}' in vhost '/' in use"


def test_an_alternate_exchange_takes_what_no_queue_wants(channel, name):
    channel.exchange_declare(name + ".other", "fanout", auto_delete=True)
    channel.exchange_declare(
        name, "direct", auto_delete=True, arguments={"alternate-exchange": name + ".other"},
    )
    channel.queue_declare(name, exclusive=True)
    channel.queue_bind(name, name + ".other")
    channel.confirm_delivery()
    channel.basic_publish(name, "nobody", b"found a home", mandatory=True)
    assert bodies(channel, name) == [b"found a home"]
    channel.exchange_delete(name)


def test_a_queue_tells_how_many_wait_and_consume(channel, name):
    declared = channel.queue_declare(name, exclusive=True).method
    assert (declared.queue, declared.message_count, declared.consumer_count) == (name, 0, 0)
    channel.confirm_delivery()
    for _ in range(3):
        channel.basic_publish("", name, b"waits")
    assert channel.queue_declare(name, passive=True).method.message_count == 3
    assert channel.queue_purge(name).method.message_count == 3
    channel.basic_consume(name, lambda *_: None)
    assert channel.queue_declare(name, passive=True).method.consumer_count == 1
    assert channel.queue_delete(name).method.message_count == 0


def test_a_queue_with_other_attributes_is_refused(channel, name):
    channel.queue_declare(name, auto_delete=True)
    text = closed_with(406, lambda: channel.queue_declare(name, auto_delete=True, durable=True))
    assert text.startswith(
        f"PRECONDITION_FAILED - inequivalent arg 'durable' for queue '{name}' in vhost '/': "
        "received 'true' but current is 'false'")


def test_an_exclusive_queue_is_locked_to_others_and_to_other_declarations(connect, channel, name):
    channel.queue_declare(name, exclusive=True)
    other = connect().channel()
    text = closed_with(405, lambda: other.basic_consume(name, print))
    assert text.startswith(
        f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name}' in vhost '/'")
    closed_with(405, lambda: channel.queue_declare(name))


def test_a_queue_that_holds_messages_or_has_consumers_is_kept_if_asked(connect, name):
    connection = connect()
    channel = connection.channel()
    channel.queue_declare(name, exclusive=True)
    channel.confirm_delivery()
    channel.basic_publish("", name, b"waits")
    text = closed_with(406, lambda: channel.queue_delete(name, if_empty=True))
    assert text == f"PRECONDITION_FAILED - queue '{name}' in vhost '/' not empty"
    channel = connection.channel()
    channel.basic_consume(name, lambda *_: None)
    text = closed_with(406, lambda: channel.queue_delete(name, if_unused=True))
    assert text == f"PRECONDITION_FAILED - queue '{name}' in vhost '/' in use"


def test_an_auto_delete_queue_goes_with_its_last_consumer(channel, name):
    channel.queue_declare(name, auto_delete=True)
    tag = channel.basic_consume(name, lambda *_: None)
    channel.basic_cancel(tag)
    closed_with(404, lambda: channel.queue_declare(name, passive=True))


def test_all_properties_come_as_they_were_sent(channel, name):
    channel.queue_declare(name, exclusive=True)
    sent = pika.BasicProperties(
        content_type="text/plain", content_encoding="utf-8", delivery_mode=2, priority=3,
        correlation_id="c", reply_to="r", message_id="m", timestamp=1_700_000_000, type="t",
        user_id="guest", app_id="a", cluster_id="x",
        headers={"s": "x", "i": 1, "l": 1 << 40, "b": True, "n": None, "a": [1, "2"], "t": {"d": 1}},
    )
    channel.basic_publish("", name, b"", sent)
    [(received, body)] = take(channel, name)
    assert (received, body) == (sent, b"")


@pytest.mark.parametrize("body_len", [0, 1, 131_064, 131_065, 1_000_000])
def test_a_body_of_any_length_comes_back_whole(channel, name, body_len):
    channel.queue_declare(name, exclusive=True)
    body = bytes(range(256)) * (body_len // 256 + 1)
    channel.basic_publish("", name, body[:body_len])
    assert bodies(channel, name) == [body[:body_len]]


def test_a_mandatory_message_without_a_queue_is_returned(channel, name):
    returned = []
    channel.add_on_return_callback(lambda *arguments: returned.append(arguments[1:]))
    channel.basic_publish("", name, b"back", mandatory=True)
    channel.connection.process_data_events(time_limit=1)
    [(method, _, body)] = returned
    assert (method.reply_code, method.reply_text, body) == (312, "NO_ROUTE", b"back")
    channel.confirm_delivery()
    with pytest.raises(UnroutableError):
        channel.basic_publish("", name, b"back", mandatory=True)


def test_a_queue_that_is_full_and_rejects_tells_the_publisher(channel, name):
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    channel.queue_declare(name, exclusive=True, arguments=arguments)
    channel.confirm_delivery()
    channel.basic_publish("", name, b"fits")
    with pytest.raises(NackError):
        channel.basic_publish("", name, b"does not")


def test_a_full_queue_drops_its_oldest(channel, name):
    channel.queue_declare(name, exclusive=True, arguments={"x-max-length": 2})
    channel.confirm_delivery()
    for body in (b"1", b"2", b"3"):
        channel.basic_publish("", name, body)
    assert bodies(channel, name, 2) == [b"2", b"3"]


def test_a_message_outlives_neither_its_own_time_nor_its_queues(channel, name):
    channel.queue_declare(name, exclusive=True, arguments={"x-message-ttl": 60_000})
    channel.basic_publish("", name, b"short", pika.BasicProperties(expiration="50"))
    channel.basic_publish("", name, b"long")
    time.sleep(0.5)
    assert bodies(channel, name) == [b"long"]


def test_an_expired_message_goes_to_the_dead_letter_exchange(channel, name):
    channel.queue_declare(name + ".dead", exclusive=True)
    channel.queue_declare(name, exclusive=True, arguments={
        "x-message-ttl": 50, "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": name + ".dead",
    })
    channel.basic_publish("", name, b"too late")
    [(properties, body)] = take(channel, name + ".dead")
    assert body == b"too late"
    death = properties.headers["x-death"][0]
    assert (death["reason"], death["queue"], death["count"]) == ("expired", name, 1)


def test_a_rejected_message_goes_to_the_dead_letter_exchange(channel, name):
    channel.queue_declare(name + ".dead", exclusive=True)
    channel.queue_declare(name, exclusive=True, arguments={
        "x-dead-letter-exchange": "", "x-dead-letter-routing-key": name + ".dead",
    })
    channel.confirm_delivery()
    channel.basic_publish("", name, b"unwanted")
    method, _, _ = channel.basic_get(name)
    channel.basic_reject(method.delivery_tag, requeue=False)
    [(properties, body)] = take(channel, name + ".dead")
    assert (body, properties.headers["x-first-death-reason"]) == (b"unwanted", "rejected")


def test_a_queue_that_nobody_uses_expires(channel, name):
    channel.queue_declare(name, arguments={"x-expires": 200})
    time.sleep(1.5)
    closed_with(404, lambda: channel.queue_declare(name, passive=True))


def test_messages_of_higher_priority_come_first(channel, name):
    channel.queue_declare(name, exclusive=True, arguments={"x-max-priority": 5})
    channel.confirm_delivery()
    for priority in (0, 5, 3):
        properties = pika.BasicProperties(priority=priority)
        channel.basic_publish("", name, str(priority), properties)
    assert bodies(channel, name, 3) == [b"5", b"3", b"0"]


def test_one_active_consumer_has_the_queue_for_itself(connect, name):
    arguments = {"x-single-active-consumer": True}
    first, second = connect().channel(), connect().channel()
    first.queue_declare(name, auto_delete=True, arguments=arguments)
    seen = []
    first.basic_consume(name, lambda *a: seen.append("first"), auto_ack=True)
    second.basic_consume(name, lambda *a: seen.append("second"), auto_ack=True)
    for _ in range(4):
        second.basic_publish("", name, b"")
    deadline = time.monotonic() + PATIENCE_S
    while len(seen) < 4 and time.monotonic() < deadline:
        first.connection.process_data_events(time_limit=0.05)
        second.connection.process_data_events(time_limit=0.05)
    assert seen == ["first"] * 4


def test_a_consumer_of_higher_priority_is_served_first(connect, name):
    low, high = connect().channel(), connect().channel()
    low.queue_declare(name, auto_delete=True)
    seen = []
    low.basic_consume(name, lambda *a: seen.append("low"), auto_ack=True)
    high.basic_consume(
        name, lambda *a: seen.append("high"), auto_ack=True, arguments={"x-priority": 5})
    low.basic_publish("", name, b"")
    high.connection.process_data_events(time_limit=1)
    low.connection.process_data_events(time_limit=0.1)
    assert seen == ["high"]


def test_an_exclusive_consumer_keeps_others_away(channel, name):
    channel.queue_declare(name, exclusive=True)
    channel.basic_consume(name, lambda *_: None, exclusive=True)
    other = channel.connection.channel()
    text = closed_with(403, lambda: other.basic_consume(name, lambda *_: None))
    assert text == f"ACCESS_REFUSED - queue '{name}' in vhost '/' in exclusive use"


def test_a_consumer_tag_is_used_once(channel, name):
    channel.queue_declare(name, exclusive=True)
    channel.basic_consume(name, lambda *_: None, consumer_tag="mine")
    with pytest.raises(DuplicateConsumerTag):
        channel.basic_consume(name, lambda *_: None, consumer_tag="mine")


def test_a_consumer_is_told_that_its_queue_was_deleted(connect, channel, name):
    channel.queue_declare(name)
    cancelled = []
    channel.add_on_cancel_callback(cancelled.append)
    tag = channel.basic_consume(name, lambda *_: None)
    connect().channel().queue_delete(name)
    channel.connection.process_data_events(time_limit=2)
    assert [frame.method.consumer_tag for frame in cancelled] == [tag]


def test_prefetch_limits_what_is_unacknowledged(channel, name):
    channel.queue_declare(name, exclusive=True)
    channel.confirm_delivery()
    for number in range(5):
        channel.basic_publish("", name, str(number))
    channel.basic_qos(prefetch_count=2)
    tags = []
    channel.basic_consume(name, lambda _, method, *rest: tags.append(method.delivery_tag))
    channel.connection.process_data_events(time_limit=1)
    assert tags == [1, 2]
    channel.basic_ack(2, multiple=True)
    channel.connection.process_data_events(time_limit=1)
    assert tags == [1, 2, 3, 4]


def test_a_limit_of_the_whole_channel_counts_all_its_consumers(channel, name):
    channel.basic_qos(prefetch_count=3, global_qos=True)
    seen = []
    for suffix in "ab":
        channel.queue_declare(name + suffix, exclusive=True)
        for _ in range(5):
            channel.basic_publish("", name + suffix, b"")
        channel.basic_consume(name + suffix, lambda *_: seen.append(suffix))
    channel.connection.process_data_events(time_limit=1)
    assert len(seen) == 3


def test_what_is_given_back_is_marked_as_redelivered(channel, name):
    channel.queue_declare(name, exclusive=True)
    channel.confirm_delivery()
    for body in (b"1", b"2", b"3"):
        channel.basic_publish("", name, body)
    tags = [channel.basic_get(name)[0].delivery_tag for _ in range(3)]
    channel.basic_nack(tags[-1], multiple=True, requeue=True)
    method, _, body = channel.basic_get(name)
    assert (body, method.redelivered, method.message_count) == (b"1", True, 2)
    channel.basic_recover(requeue=True)
    method, _, body = channel.basic_get(name)
    assert (body, method.redelivered) == (b"1", True)
    channel.basic_reject(method.delivery_tag, requeue=False)
    assert channel.basic_get(name)[2] == b"2"


def test_an_unknown_delivery_tag_closes_the_channel(channel):
    channel.basic_ack(99)
    text = closed_with(406, lambda: channel.queue_declare("", exclusive=True))
    assert text == "PRECONDITION_FAILED - unknown delivery tag 99"


def test_a_transaction_takes_effect_at_its_commit_or_not_at_all(connect, channel, name):
    channel.queue_declare(name, auto_delete=True)
    observer = connect().channel()
    channel.tx_select()
    channel.basic_publish("", name, b"dropped")
    channel.tx_rollback()
    channel.basic_publish("", name, b"kept")
    assert observer.basic_get(name) == (None, None, None)
    channel.tx_commit()
    assert bodies(observer, name) == [b"kept"]


def test_a_reply_comes_straight_to_its_requester(connect, channel, name):
    channel.queue_declare(name, exclusive=False, auto_delete=True)

    def answer(worker, method, properties, body):
        worker.basic_publish("", properties.reply_to, body.upper(), pika.BasicProperties(
            correlation_id=properties.correlation_id))

    worker = connect().channel()
    worker.basic_consume(name, answer, auto_ack=True)
    replies = []
    channel.basic_consume(
        "amq.rabbitmq.reply-to", lambda _, __, properties, body: replies.append(
            (properties.correlation_id, body)), auto_ack=True)
    for number in range(10):
        channel.basic_publish("", name, b"call", pika.BasicProperties(
            reply_to="amq.rabbitmq.reply-to", correlation_id=str(number)))
    deadline = time.monotonic() + PATIENCE_S
    while len(replies) < 10 and time.monotonic() < deadline:
        worker.connection.process_data_events(time_limit=0.05)
        channel.connection.process_data_events(time_limit=0.05)
    assert replies == [(str(number), b"CALL") for number in range(10)]


def test_consuming_starts_and_stops(channel, name):
    channel.queue_declare(name, exclusive=True)
    for number in range(10):
        channel.basic_publish("", name, str(number))
    seen = []

    def take_one(channel, method, properties, body):
        seen.append(int(body))
        channel.basic_ack(method.delivery_tag)
        if len(seen) == 10:
            channel.stop_consuming()

    channel.basic_consume(name, take_one)
    channel.start_consuming()
    assert seen == list(range(10))


def test_unacknowledged_messages_come_back_when_the_connection_is_closed(connect, name):
    first = connect()
    channel = first.channel()
    channel.queue_declare(name)
    channel.confirm_delivery()
    channel.basic_publish("", name, b"kept")
    assert channel.basic_get(name)[2] == b"kept"
    first.close()
    second = connect().channel()
    method, _, body = second.basic_get(name)
    assert (body, method.redelivered) == (b"kept", True)
    second.queue_delete(name)
