"""lapin, without TLS, on both runtimes that its tests use."""

from kinds import CargoSuite

SUITE = CargoSuite("lapin", "tokio,smol", lambda broker: {"AMQP_ADDR": broker.url})
