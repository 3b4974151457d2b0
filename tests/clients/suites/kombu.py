"""kombu, of whose integration tests one file is for AMQP; the others are for other brokers."""

from kinds import PytestSuite

SUITE = PytestSuite(
    "kombu", "kombu", ["t/integration/test_py_amqp.py"],
    lambda broker: {"RABBITMQ_HOST": "127.0.0.1", "RABBITMQ_5672_TCP": str(broker.port)},
)
