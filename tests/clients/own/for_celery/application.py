"""A small application on Celery: its tasks, and how it is connected."""

import os
import time

from celery import Celery, Task

app = Celery("application", broker=os.environ["BROKER_URL"], backend="rpc://")
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    task_default_queue=os.environ.get("APPLICATION_QUEUE", "own.celery"),
    task_acks_late=True,
    result_expires=60,
    broker_heartbeat=5,
)


@app.task
def add(x, y):
    return x + y


@app.task
def fail(reason):
    raise ValueError(reason)


@app.task
def slow(seconds):
    time.sleep(seconds)
    return seconds


@app.task(bind=True, max_retries=3)
def succeed_at_last(self, attempts):
    """Fails until it was tried so many times."""
    if self.request.retries + 1 < attempts:
        raise self.retry(countdown=0.1)
    return self.request.retries


@app.task(bind=True)
def who_asked(self):
    return {"reply_to": self.request.reply_to, "correlation_id": self.request.correlation_id}


@app.task(bind=True)
def tell_progress(self):
    self.update_state(state="HALFWAY", meta={"percent": 50})
    time.sleep(0.5)
    return "done"


class Remembering(Task):
    seen = None


@app.task(base=Remembering, bind=True)
def remember(self, value):
    before, self.seen = self.seen, value
    return before


@app.task
def echo(value):
    return value
