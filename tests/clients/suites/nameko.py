"""nameko, microservices by RPC over AMQP. Its own fixtures make a virtual host for each test by
the management interface; plugins/nameko_broker.py gives each test a fresh broker instead."""


from kinds import PytestSuite

SUITE = PytestSuite(
    "nameko", "nameko", ["test"],
    lambda broker: {"BROKER_URL": broker.url},
    options=["-p", "nameko_broker", "--timeout", "0"], limit_s=1200,
)
