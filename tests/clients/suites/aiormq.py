"""aiormq, the client below aio-pika. Its fixtures want a container with the broker, but the
fixture that would start one is not in its package: plugins/broker_container.py gives it."""

from kinds import PytestSuite

SUITE = PytestSuite(
    "aiormq", "aiormq", ["tests"],
    lambda broker: {"BROKER_PORT": str(broker.port)},
    options=["-p", "broker_container"],
)
