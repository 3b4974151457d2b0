"""Celery's own integration tests: pyamqp as the transport, rpc:// for the results."""

from kinds import PytestSuite

SUITE = PytestSuite(
    "celery", "celery", ["t/integration"],
    lambda broker: {
        "TEST_BROKER": f"pyamqp://guest:guest@127.0.0.1:{broker.port}//",
        "TEST_BACKEND": "rpc://",
    },
    options=["-p", "celery.contrib.pytest"], limit_s=1500,
)
