"""The clients whose tests are run, a file each: what there is, and how it finds the broker."""

from importlib import import_module

# In the order in which they are run: short ones first.
NAMES = [
    "pika", "py_amqp", "kombu", "aiormq", "aio_pika", "lapin", "amqprs", "amqplib", "nameko",
    "celery", "celery_rpc",
]
# Together they take less than a minute, once they are installed, and need no large build.
FAST = {"pika", "py_amqp", "amqplib"}


def load(name):
    return import_module(f"suites.{name}").SUITE
