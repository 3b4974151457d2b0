"""py-amqp, the client below kombu and Celery."""

from kinds import PytestSuite

SUITE = PytestSuite(
    "py_amqp", "amqp", ["t/integration"],
    lambda broker: {"RABBITMQ_HOST": "127.0.0.1", "RABBITMQ_5672_TCP": str(broker.port)},
    installed_as="kombu",
)
