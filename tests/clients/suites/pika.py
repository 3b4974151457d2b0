"""pika: none of its source distributions has tests, so these are ours."""

from kinds import OwnSuite

SUITE = OwnSuite(
    "pika", "pika", ["for_pika"],
    lambda broker: {"BROKER_URL": broker.url},
)
