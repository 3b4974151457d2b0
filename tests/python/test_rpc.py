"""The RPC tutorial's pair and the direct reply-to pair, as programs of their own."""

import concurrent.futures

import pytest
from conftest import PATIENCE
from rpc_client import FibonacciClient
from rpc_server import fibonacci


@pytest.fixture(params=["queue", "direct"])
def style(request):
    return request.param


@pytest.fixture
def queue(broker, unique):
    name = unique("rpc_queue")
    yield name
    connection = broker.connect()
    connection.channel().queue_delete(name)
    connection.close()


def test_the_tutorials_programs_run_unchanged(broker, run, queue, style):
    server = run("rpc_server.py", broker.url, queue)
    server.expect("ready")
    clients = [run("rpc_client.py", broker.url, queue, style, 30, n, 0) for n in range(3)]
    for number, client in enumerate(clients):
        code, output = client.wait()
        assert (code, output.split()) == (0, ["832040", str(fibonacci(number)), "0"])


def test_a_request_survives_the_kill_of_its_worker(broker, run, queue, style):
    victim = run("rpc_server.py", broker.url, queue, "hang")
    victim.expect("ready")
    client = run("rpc_client.py", broker.url, queue, style, 10)
    victim.expect("took")
    successor = run("rpc_server.py", broker.url, queue)
    successor.expect("ready")
    victim.kill()
    code, output = client.wait()
    assert (code, output.split()) == (0, ["55"])


def test_a_killed_workers_request_is_flagged_redelivered(broker, run, queue, style):
    client = FibonacciClient(broker.parameters(), queue, style)
    for expected in ["took", "took redelivered"]:
        victim = run("rpc_server.py", broker.url, queue, "hang")
        victim.expect("ready")
        if expected == "took":
            client.request(1)
        victim.expect(expected)
        victim.kill()
    client.connection.close()


def test_the_kill_of_a_requester_does_not_disturb_the_worker(broker, run, queue, style):
    hanging = run("rpc_server.py", broker.url, queue, "hang")
    hanging.expect("ready")
    doomed = run("rpc_client.py", broker.url, queue, style, 20)
    hanging.expect("took")
    doomed.kill()
    # Its request comes back to the next worker, whose answer finds nobody.
    hanging.kill()
    server = run("rpc_server.py", broker.url, queue)
    server.expect("ready")
    client = FibonacciClient(broker.parameters(), queue, style)
    assert [client.call(number) for number in range(10)] == [fibonacci(n) for n in range(10)]
    client.connection.close()
    assert server.child.poll() is None


def test_two_hundred_requesters_at_once(broker, run, queue, style):
    servers = [run("rpc_server.py", broker.url, queue) for _ in range(2)]
    for server in servers:
        server.expect("ready")

    def calls(start):
        parameters = broker.parameters(socket_timeout=PATIENCE, stack_timeout=PATIENCE * 2)
        client = FibonacciClient(parameters, queue, style)
        answers = [client.call(start + i) for i in range(5)]
        client.connection.close()
        return answers

    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        results = list(pool.map(calls, range(200)))
    assert results == [[fibonacci(start + i) for i in range(5)] for start in range(200)]
