"""amqplib: the last version whose package has its tests. Some take a URL, some do not."""

from kinds import NodeSuite

SUITE = NodeSuite(
    "amqplib", lambda broker: {"URL": "amqp://localhost"}, has_standard_port=True,
)
