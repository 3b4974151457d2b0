"""amqprs, without TLS. Host, port, user and password are written into its tests."""

from kinds import CargoSuite

SUITE = CargoSuite("amqprs", "urispec,traces", lambda broker: {}, has_standard_port=True)
