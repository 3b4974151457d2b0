"""A pytest plugin for nameko's tests. Its own fixtures give each test a virtual host, by the
management interface, and take it away again; here each test has the broker's one, and what it has
declared is deleted when it ends, which tells its consumers the same. What the tests ask of the
management interface they are answered by AMQP, as far as that can tell: no connections."""

import base64
import os

import amqp
import eventlet
import pytest

# What ends a test that hangs has to come from the hub: all runs in one thread.
TIMEOUT_S = 20


def pytest_configure(config):
    # nameko's own plugin is there by now, and of two fixtures the later one counts.
    config.pluginmanager.register(Fixtures(), "nameko_broker_fixtures")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup(item):
    with eventlet.Timeout(TIMEOUT_S):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    with eventlet.Timeout(TIMEOUT_S):
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item):
    with eventlet.Timeout(TIMEOUT_S):
        yield


class Fixtures:
    @pytest.fixture
    def broker_notes(self, monkeypatch):
        notes = Notes()
        for kind in ("queue", "exchange"):
            monkeypatch.setattr(amqp.Channel, f"{kind}_declare", notes.of_declarations(kind))
        monkeypatch.setattr(amqp.Channel, "queue_bind", notes.of_bindings())
        return notes

    @pytest.fixture
    def rabbit_config(self, broker_notes):
        url = os.environ["BROKER_URL"].replace("amqp://", "pyamqp://")
        yield {"AMQP_URI": url, "username": "guest", "vhost": "/"}
        Management(broker_notes).delete_all()

    @pytest.fixture
    def rabbit_manager(self, broker_notes):
        return Management(broker_notes)


class Notes:
    """What the client has declared and bound: AMQP cannot list it."""

    def __init__(self):
        self.declared = set()
        self.bindings = []

    def of_declarations(self, kind):
        original = getattr(amqp.Channel, f"{kind}_declare")

        def declare(channel, name="", *arguments, **options):
            name = options.pop(kind, name)
            answer = original(channel, name, *arguments, **options)
            name = name or getattr(answer, "queue", "")
            if name and not name.startswith("amq.") and not options.get("passive"):
                self.declared.add((kind, name))
            return answer

        return declare

    def of_bindings(self):
        original = amqp.Channel.queue_bind

        def bind(channel, queue, exchange="", routing_key="", **options):
            answer = original(channel, queue, exchange, routing_key, **options)
            self.bindings.append({
                "source": exchange, "destination": queue, "routing_key": routing_key,
            })
            return answer

        return bind


class Management:
    """What nameko's tests use of the management interface. The virtual host is always "/"."""

    def __init__(self, notes):
        self.notes = notes

    def do(self, method, *arguments, **options):
        """One method on a channel of its own; an error closes no other."""
        from kombu import Connection
        with Connection(os.environ["BROKER_URL"].replace("amqp://", "pyamqp://")) as connection:
            return getattr(connection.channel(), method)(*arguments, **options)

    def names(self, kind):
        """Of those that were declared, the ones that are still there."""
        for declared, name in sorted(self.notes.declared):
            try:
                if declared == kind:
                    options = {"type": "direct"} if kind == "exchange" else {}
                    self.do(f"{kind}_declare", name, passive=True, **options)
                    yield name
            except amqp.exceptions.NotFound:
                pass
            except amqp.exceptions.ResourceLocked:
                yield name

    def get_queues(self, vhost):
        return [{"name": name} for name in self.names("queue")]

    def get_exchanges(self, vhost):
        return [{"name": name} for name in self.names("exchange")]

    def get_queue(self, vhost, name):
        answer = self.do("queue_declare", name, passive=True)
        return {
            "name": name,
            "messages": answer.message_count,
            "consumer_details": [{}] * answer.consumer_count,
        }

    def get_queue_bindings(self, vhost, name):
        return [binding for binding in self.notes.bindings if binding["destination"] == name]

    def create_queue(self, vhost, name, **properties):
        self.do("queue_declare", name, **{"auto_delete": False, **properties})

    def create_queue_binding(self, vhost, exchange, queue, routing_key):
        self.do("queue_bind", queue, exchange, routing_key)

    def publish(self, vhost, name, routing_key, payload, properties=None):
        properties = dict(properties or {})
        headers = properties.pop("headers", {})
        message = amqp.Message(payload, application_headers=headers, **properties)
        exchange = "" if name == "amq.default" else name
        self.do("basic_publish_confirm", message, exchange, routing_key)
        return {"routed": True}

    def get_messages(self, vhost, name, count=1, requeue=False):
        message = self.do("basic_get", name, no_ack=not requeue)
        if message is None:
            return []
        properties = dict(message.properties)
        properties["headers"] = properties.pop("application_headers", {})
        body = message.body
        try:
            payload = body.decode() if isinstance(body, bytes) else body
        except UnicodeDecodeError:
            payload = base64.b64encode(body).decode()
        return [{"payload": payload, "properties": properties}]

    def delete_all(self):
        from kombu import pools
        # Their connections remember what they have declared, and would not declare it again.
        pools.reset()
        for kind, name in sorted(self.notes.declared):
            try:
                self.do(f"{kind}_delete", name)
            except (amqp.exceptions.NotFound, amqp.exceptions.ResourceLocked):
                # Locked: it goes with the connection that has it.
                pass
