"""The application that the workers run and the tests ask.

BROKER is the broker's URL; RESULTS a directory for what the tasks leave behind.
"""
import os
import time
from pathlib import Path

from celery import Celery
from celery.backends.filesystem import FilesystemBackend
from celery.exceptions import Reject
from kombu.utils.encoding import ensure_bytes
from kombu import Exchange, Queue

BROKER, RESULTS = os.environ["BROKER"], Path(os.environ["RESULTS"])
# Celery publishes a retry before it notes that there is one. A worker that takes it at once may be done
# before that, and the note is what stays.
RETRY_AFTER = 1
DEAD = Queue("refused", Exchange("refused", type="fanout"), durable=True)
ORDERS = Queue(
    "orders",
    Exchange("orders", type="topic"),
    routing_key="order.#",
    queue_arguments={"x-dead-letter-exchange": "refused", "x-max-priority": 10},
)


def set_whole(self, key, value):
    """Celery writes a result's file in place, and who asks meanwhile reads a part of it."""
    path = Path(os.fsdecode(self._filename(key)))
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.write_bytes(ensure_bytes(value))
    draft.replace(path)


FilesystemBackend.set = set_whole


def application(backend, **configuration):
    made = Celery("shop", broker=BROKER, backend=backend)
    made.conf.update(
        broker_connection_retry_on_startup=True,
        # Seconds are the finest the defaults wait; a test need not.
        result_chord_retry_interval=0.2,
        worker_send_task_events=True,
        worker_prefetch_multiplier=1,
        task_track_started=True,
        **configuration,
    )
    return made


def filed():
    """Results in files: a chord needs to look up those of its parts."""
    queues = [Queue("celery", routing_key="celery"), ORDERS]
    return application(f"file://{RESULTS}", task_queues=queues)


def answered():
    """Results as messages to the one that asked."""
    return application("rpc://", task_default_queue="answered")


def quorum():
    """Celery's own scheme for quorum queues: a delay is a way through queues that expire."""
    return application(
        f"file://{RESULTS}",
        task_default_queue="elected",
        task_default_queue_type="quorum",
        task_default_exchange_type="topic",
        broker_native_delayed_delivery_queue_type="classic",
    )


app = {"filed": filed, "answered": answered, "quorum": quorum}[os.environ.get("KIND", "filed")]()


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def size(text):
    return len(text)


@app.task
def now():
    return time.time()


@app.task
def started():
    """When it began; it goes on for longer than a second process needs to begin with the next."""
    began = time.time()
    time.sleep(0.5)
    return began


@app.task
def fail(text):
    raise ValueError(text)


@app.task(bind=True, max_retries=5)
def third_time(self):
    if self.request.retries < 2:
        raise self.retry(countdown=RETRY_AFTER)
    return self.request.retries


@app.task(bind=True, max_retries=2)
def never(self):
    raise self.retry(countdown=RETRY_AFTER, exc=ValueError("as ever"))


@app.task(acks_late=True)
def refuse():
    raise Reject("not here", requeue=False)


@app.task
def sleep(seconds):
    time.sleep(seconds)


@app.task
def note(name, text):
    """Leaves a line in a file."""
    with (RESULTS / name).open("a") as file:
        file.write(f"{text}\n")


@app.task(acks_late=True, reject_on_worker_lost=True)
def crash_once(name):
    """Kills its process the first time, before the task is acknowledged."""
    flag = RESULTS / name
    if not flag.exists():
        flag.touch()
        os.kill(os.getpid(), 9)
    return "survived"


@app.task(acks_late=True)
def slow_note(name, text):
    time.sleep(0.3)
    note(name, text)
