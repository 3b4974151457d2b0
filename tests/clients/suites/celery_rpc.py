"""A small application on Celery with results by RPC: what Celery's own tests leave to Redis."""

from kinds import OwnSuite

SUITE = OwnSuite(
    "celery_rpc", "celery", ["for_celery"],
    lambda broker: {"BROKER_URL": f"pyamqp://guest:guest@127.0.0.1:{broker.port}//"},
    installed_as="celery",
)
