"""Starts a real worker, a process with two children, and stops it."""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

os.environ["APPLICATION_QUEUE"] = f"own.celery.{uuid.uuid4().hex}"
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import application  # noqa: E402

# How long a test waits for something that must happen.
PATIENCE_S = 40


class Worker:
    def __init__(self, log):
        self.log = log
        self.name = f"worker-{uuid.uuid4().hex[:8]}@localhost"
        with log.open("w") as output:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "application", "worker", "-c", "2",
                 "-n", self.name, "--loglevel", "INFO", "-E"],
                cwd=HERE, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )

    def wait_until_ready(self):
        deadline = time.monotonic() + PATIENCE_S
        while "ready." not in self.log.read_text():
            assert self.child.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def stop(self):
        """As an operator would: it finishes what it has begun."""
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(PATIENCE_S)

    def kill(self):
        """With its children, as a machine that fails."""
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()


@pytest.fixture(scope="session")
def start_worker(tmp_path_factory):
    workers = []

    def start():
        worker = Worker(tmp_path_factory.mktemp("worker") / "log")
        workers.append(worker)
        worker.wait_until_ready()
        return worker

    yield start
    for worker in workers:
        worker.kill()


@pytest.fixture(scope="session")
def worker(start_worker):
    return start_worker()


@pytest.fixture(scope="session", autouse=True)
def application_queue():
    yield
    with application.app.connection_for_write() as connection:
        connection.default_channel.queue_delete(os.environ["APPLICATION_QUEUE"])
