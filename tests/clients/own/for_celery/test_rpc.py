"""What an application on Celery with results by RPC relies on."""

import threading
import time

import pytest
from application import (
    add, app, echo, fail, remember, slow, succeed_at_last, tell_progress, who_asked,
)
from celery import chain, group
from celery.exceptions import TaskRevokedError, TimeoutError
from conftest import PATIENCE_S

pytestmark = pytest.mark.usefixtures("worker")


def test_a_result_comes_back():
    assert add.delay(2, 2).get(timeout=PATIENCE_S) == 4


def test_results_are_told_apart():
    results = [add.delay(number, 1) for number in range(100)]
    assert [result.get(timeout=PATIENCE_S) for result in results] == list(range(1, 101))


def test_results_may_be_taken_in_any_order():
    results = [echo.delay(number) for number in range(20)]
    for number in reversed(range(20)):
        assert results[number].get(timeout=PATIENCE_S) == number


def test_a_failure_comes_back_as_what_was_raised():
    with pytest.raises(ValueError, match="it had to"):
        fail.delay("it had to").get(timeout=PATIENCE_S)


def test_who_waits_too_briefly_may_wait_again():
    result = slow.delay(1.5)
    with pytest.raises(TimeoutError):
        result.get(timeout=0.2)
    assert result.get(timeout=PATIENCE_S) == 1.5


def test_a_task_is_tried_again_after_a_while():
    assert succeed_at_last.delay(3).get(timeout=PATIENCE_S) == 2


def test_a_task_waits_for_its_time():
    begun = time.monotonic()
    assert add.apply_async((1, 1), countdown=1).get(timeout=PATIENCE_S) == 2
    assert time.monotonic() - begun >= 1


def test_a_task_that_is_too_old_is_not_run():
    with pytest.raises(TaskRevokedError):
        add.apply_async((1, 1), expires=-1).get(timeout=PATIENCE_S)


def test_a_group_gives_all_results_in_its_order():
    together = group(add.s(number, number) for number in range(20))()
    assert together.get(timeout=PATIENCE_S) == [2 * number for number in range(20)]


def test_a_chain_hands_each_result_on():
    assert chain(add.s(1, 1), add.s(10), add.s(100))().get(timeout=PATIENCE_S) == 112


def test_replies_go_to_one_queue_per_application_that_expires():
    asked = who_asked.delay()
    told = asked.get(timeout=PATIENCE_S)
    assert told["correlation_id"] == asked.id
    with app.connection_for_read() as connection:
        answer = connection.default_channel.queue_declare(told["reply_to"], passive=True)
    assert answer.message_count == 0


def test_progress_is_told_before_the_result():
    seen = []
    result = tell_progress.delay()
    assert result.get(timeout=PATIENCE_S, on_message=lambda m: seen.append(m["status"])) == "done"
    assert seen == ["HALFWAY", "SUCCESS"]


@pytest.mark.parametrize("length", [0, 1, 100_000, 5_000_000])
def test_arguments_and_results_may_be_long(length):
    assert echo.delay("x" * length).get(timeout=PATIENCE_S) == "x" * length


def test_several_threads_may_ask_at_a_time():
    answers = {}

    def ask(number):
        answers[number] = add.delay(number, number).get(timeout=PATIENCE_S)

    threads = [threading.Thread(target=ask, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert answers == {number: 2 * number for number in range(8)}


def test_a_worker_answers_questions_about_itself(worker):
    inspect = app.control.inspect([worker.name], timeout=10)
    assert inspect.ping() == {worker.name: {"ok": "pong"}}
    assert "application.add" in inspect.registered()[worker.name]


def test_all_workers_hear_what_is_broadcast(worker):
    assert {worker.name: {"ok": "pong"}} in app.control.ping(timeout=5)


def test_a_revoked_task_is_not_run():
    result = add.apply_async((1, 1), countdown=2)
    app.control.revoke(result.id)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=PATIENCE_S)


def test_events_of_a_worker_are_heard():
    seen = []
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={
            "task-succeeded": lambda event: seen.append(event["uuid"])})
        with receiver.consumer_context():
            result = add.delay(3, 4)
            deadline = time.monotonic() + PATIENCE_S
            while result.id not in seen and time.monotonic() < deadline:
                try:
                    connection.drain_events(timeout=1)
                except OSError:
                    pass
    assert result.id in seen
    assert result.get(timeout=PATIENCE_S) == 7


def test_a_task_keeps_what_it_remembers_in_its_process():
    values = [remember.delay(number).get(timeout=PATIENCE_S) for number in range(6)]
    assert values.count(None) <= 2


def test_the_task_of_a_killed_worker_is_done_by_another(worker, start_worker):
    """The last test: it takes the worker of the others away."""
    app.control.cancel_consumer(app.conf.task_default_queue, destination=[worker.name], reply=True)
    doomed = start_worker()
    result = slow.delay(4)
    deadline = time.monotonic() + PATIENCE_S
    while "received" not in doomed.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    doomed.kill()
    start_worker()
    assert result.get(timeout=PATIENCE_S) == 4


def test_a_worker_ends_in_good_order(start_worker):
    assert start_worker().stop() == 0
