"""Starts and stops the broker under test.

BROKER_URL (amqp://guest:guest@127.0.0.1:5672/%2f): test that broker instead of starting one.
RONDO_BROKER: the binary to start; else target/debug/broker (CARGO_TARGET_DIR is respected).
"""

import itertools
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading

import pika
import pytest

HERE = pathlib.Path(__file__).parent
REPOSITORY = HERE.parent.parent
# How long a test waits for something that must happen: a slow machine is no failure.
PATIENCE = 30


class Broker:
    """A broker at a URL, and its process if we started it."""

    def __init__(self, url, process=None):
        self.url = url
        self.process = process

    @property
    def is_own(self):
        return self.process is not None

    def parameters(self, **options):
        parameters = pika.URLParameters(self.url)
        for name, value in options.items():
            setattr(parameters, name, value)
        return parameters

    def connect(self, **options):
        return pika.BlockingConnection(self.parameters(**options))


def binary():
    if path := os.environ.get("RONDO_BROKER"):
        return pathlib.Path(path)
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    path = REPOSITORY / target / "debug" / "broker"
    assert path.exists(), f"no {path}: run `cargo build -p broker` first, or set RONDO_BROKER"
    return path


class Process:
    """A broker on a free loopback port. Its log is kept for the report of a failed test."""

    def __init__(self, shards, *flags):
        arguments = [binary(), "--listen", "127.0.0.1:0", "--shards", str(shards), *flags]
        self.child = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
        self.log = []
        self.listening = threading.Event()
        self.port = None
        self.reader = threading.Thread(target=self.read_log, daemon=True)
        self.reader.start()
        if not self.listening.wait(PATIENCE) or self.port is None:
            self.child.kill()
            self.child.wait()
            pytest.fail("the broker never said 'listening on':\n" + "".join(self.log))

    def read_log(self):
        for line in self.child.stderr:
            self.log.append(line)
            if match := re.search(r"listening on 127\.0\.0\.1:(\d+)", line):
                self.port = int(match[1])
                self.listening.set()
        self.listening.set()

    def stop(self):
        """Ends the process with SIGTERM; its exit code."""
        self.child.send_signal(signal.SIGTERM)
        try:
            code = self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            code = self.child.wait()
        self.reader.join(PATIENCE)
        sys.stderr.write("the broker's log:\n" + "".join(self.log))
        return code


def shard_counts():
    return ["BROKER_URL"] if "BROKER_URL" in os.environ else [1, 2]


@pytest.fixture(params=shard_counts(), ids=lambda count: f"shards={count}")
def broker(request):
    if request.param == "BROKER_URL":
        yield Broker(os.environ["BROKER_URL"])
        return
    process = Process(request.param)
    yield Broker(f"amqp://guest:guest@127.0.0.1:{process.port}/%2f", process)
    assert process.stop() == 0


@pytest.fixture(params=[1, 2], ids=lambda count: f"shards={count}")
def small_broker(request):
    """A broker of our own whose queues hold little."""
    if "BROKER_URL" in os.environ:
        pytest.skip("the broker needs flags of ours")
    flags = ["--body-max", "65536", "--queue-memory-max", "524288"]
    process = Process(request.param, *flags)
    yield Broker(f"amqp://guest:guest@127.0.0.1:{process.port}/%2f", process)
    assert process.stop() == 0


@pytest.fixture
def channel(broker):
    connection = broker.connect()
    yield connection.channel()
    if connection.is_open:
        connection.close()


counter = itertools.count()


@pytest.fixture
def unique():
    """Makes names that no other test uses, for brokers that outlive one test."""
    return lambda prefix: f"{prefix}.{os.getpid()}.{next(counter)}"


class Program:
    """A script of this folder as a process of its own, its lines of output as they come."""

    def __init__(self, script, *arguments):
        command = [sys.executable, "-u", str(HERE / script), *map(str, arguments)]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def expect(self, text):
        """Waits until the program has printed this line."""
        for line in self.child.stdout:
            if line.strip() == text:
                return
        pytest.fail(f"{self.child.args} ended with {self.child.wait()} before it said {text!r}")

    def wait(self):
        """The exit code and what is left of the output."""
        output, _ = self.child.communicate(timeout=PATIENCE)
        return self.child.returncode, output

    def kill(self):
        self.child.kill()
        self.child.wait()


@pytest.fixture
def run():
    """Starts programs; whatever still runs at the end of the test is killed."""
    programs = []

    def start(script, *arguments):
        programs.append(Program(script, *arguments))
        return programs[-1]

    yield start
    for program in programs:
        program.kill()
        program.child.stdout.close()
