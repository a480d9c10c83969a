"""A Celery worker does what its users ask of it."""
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import datetime, timedelta, timezone

import celery
import pytest
from celery.exceptions import TaskRevokedError

import shop

PATIENCE = 60
WORKERS = {"filed@shop", "answered@shop", "quorum@shop"}
FILED = ["filed@shop"]
# Of a broadcast: as many answers as there are workers, however long one takes to answer.
of_all = {"timeout": PATIENCE, "limit": len(WORKERS)}
here = shop.app
answered, quorum = shop.answered(), shop.quorum()


def worker(kind, *options):
    log = (shop.RESULTS / f"worker-{kind}.log").open("w")
    command = [sys.executable, "-m", "celery", "-A", "shop", "worker", "-n", f"{kind}@shop"]
    environment = {**os.environ, "KIND": kind}
    return subprocess.Popen([*command, *options], env=environment, stdout=log, stderr=log)


@pytest.fixture(scope="session", autouse=True)
def workers():
    # One with processes, so that a task can be ended from outside; one at a time is enough else.
    started = [
        worker("filed", "--concurrency", "2"),
        worker("answered", "--pool", "solo"),
        worker("quorum", "--pool", "solo"),
    ]
    try:
        eventually(lambda: len(here.control.ping(timeout=1)) == len(WORKERS))
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def eventually(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def value(result):
    return result.get(timeout=PATIENCE, interval=0.05)


def declared(name):
    """What the broker says of a queue: its `message_count` ready and its `consumer_count`."""
    with here.connection_for_write() as connection:
        return connection.default_channel.queue_declare(name, passive=True)


def count(name):
    return declared(name).message_count


def inspect():
    return here.control.inspect(destination=FILED, timeout=PATIENCE)


# A worker answers that it no longer consumes, or does, before it asks that of the broker.
def cancel_consumer(name):
    here.control.cancel_consumer(name, reply=True, destination=FILED, timeout=PATIENCE)
    eventually(lambda: declared(name).consumer_count == 0)


def add_consumer(name):
    here.control.add_consumer(name, reply=True, destination=FILED, timeout=PATIENCE)
    eventually(lambda: declared(name).consumer_count == 1)


def test_result():
    assert value(shop.add.delay(2, 3)) == 5


def test_failure():
    with pytest.raises(ValueError, match="out of stock"):
        value(shop.fail.delay("out of stock"))


def test_many_tasks():
    results = [shop.add.delay(number, 1) for number in range(200)]
    assert [value(result) for result in results] == list(range(1, 201))


def test_large_argument():
    assert value(shop.size.delay("a" * 2_000_000)) == 2_000_000


def test_retries_until_it_works():
    assert value(shop.third_time.delay()) == 2


def test_retries_until_no_more_are_allowed():
    with pytest.raises(ValueError, match="as ever"):
        value(shop.never.delay())


def test_countdown():
    asked = time.time()
    assert value(shop.now.apply_async(countdown=2)) >= asked + 2


def test_eta():
    eta = datetime.now(timezone.utc) + timedelta(seconds=2)
    assert value(shop.now.apply_async(eta=eta)) >= eta.timestamp()


def test_etas_do_not_hold_up_what_is_due():
    later = [shop.add.apply_async((0, 0), countdown=120) for _ in range(20)]
    assert value(shop.add.delay(1, 1)) == 2
    for result in later:
        result.revoke()


def test_chain():
    assert value((shop.add.s(1, 2) | shop.add.s(3) | shop.add.s(4)).delay()) == 10


def test_group():
    result = celery.group(shop.add.s(number, number) for number in range(10)).delay()
    assert value(result) == [2 * number for number in range(10)]


def test_chord():
    result = celery.chord([shop.add.s(number, 1) for number in range(20)], shop.total.s()).delay()
    assert value(result) == sum(range(1, 21))


def test_chord_in_a_chain():
    parts = celery.group(shop.add.s(number) for number in range(5))
    assert value((shop.add.s(1, 1) | parts | shop.total.s() | shop.add.s(100)).delay()) == 120


def test_failure_in_a_chord():
    result = celery.chord([shop.add.s(1, 1), shop.fail.s("no")], shop.total.s()).delay()
    # Which of the two depends on whether the part or the whole is looked at first.
    with pytest.raises((celery.exceptions.ChordError, ValueError), match="no"):
        value(result)


def test_topic_routing():
    result = shop.add.apply_async((4, 5), exchange="orders", routing_key="order.new.eu")
    assert value(result) == 9


def test_priorities():
    # A worker that does not consume lets them queue up.
    cancel_consumer("orders")
    try:
        results = [
            shop.started.apply_async(exchange="orders", routing_key="order.x", priority=priority)
            for priority in (1, 5, 9, 1, 5, 9)
        ]
        eventually(lambda: count("orders") == 6)
    finally:
        add_consumer("orders")
    # Two processes may swap neighbours, not the first pair with the last.
    begun = [value(result) for result in results]
    assert max(begun[2], begun[5]) < min(begun[0], begun[3])


def test_rejected_task_is_dead_lettered():
    with here.connection_for_write() as connection:
        queue = shop.DEAD(connection.default_channel)
        queue.declare()
        shop.refuse.apply_async(exchange="orders", routing_key="order.odd")
        eventually(lambda: queue.queue_declare(passive=True).message_count == 1)
        message = queue.get()
        message.ack()
        [death] = message.headers["x-death"]
        assert (death["queue"], death["reason"], death["count"]) == ("orders", "rejected", 1)
        assert death["routing-keys"] == ["order.odd"]


def test_task_of_a_killed_process_is_done_again():
    assert value(shop.crash_once.delay("crashed")) == "survived"


def test_expired_task_is_not_done():
    result = shop.note.apply_async(("expired", "x"), countdown=2, expires=1)
    with pytest.raises(TaskRevokedError):
        value(result)
    assert not (shop.RESULTS / "expired").exists()


def scheduled():
    """The tasks that the worker holds until they are due."""
    [tasks] = inspect().scheduled().values()
    return {task["request"]["id"] for task in tasks}


def test_revoked_before_it_is_due():
    # Time enough for the worker to be asked, and told, before the task is due.
    result = shop.note.apply_async(("revoked", "x"), countdown=5)
    eventually(lambda: result.id in scheduled())
    result.revoke()
    with pytest.raises(TaskRevokedError):
        value(result)
    assert not (shop.RESULTS / "revoked").exists()


def test_revoked_while_it_runs():
    result = shop.sleep.delay(300)
    eventually(lambda: result.state == "STARTED")
    result.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        value(result)


def test_ping():
    names = {name for reply in here.control.ping(**of_all) for name in reply}
    assert names == WORKERS


def test_ping_of_one():
    reply = here.control.ping(timeout=PATIENCE, destination=["answered@shop"])
    assert reply == [{"answered@shop": {"ok": "pong"}}]


def test_inspect():
    [queues] = inspect().active_queues().values()
    assert {queue["name"] for queue in queues} >= {"celery", "orders"}
    [registered] = inspect().registered().values()
    assert "shop.add" in registered
    [statistics] = inspect().stats().values()
    assert statistics["broker"]["transport"] == "amqp"


def test_rate_limit_is_broadcast():
    replies = here.control.rate_limit("shop.size", "100/s", reply=True, **of_all)
    assert len(replies) == 3 and all("ok" in answer for [answer] in map(dict.values, replies))


def test_consumers_added_and_cancelled():
    # The worker makes the queue, and until it has there is none to look at.
    here.control.add_consumer("extra", reply=True, destination=FILED, timeout=PATIENCE)
    assert value(shop.add.apply_async((1, 1), queue="extra")) == 2
    cancel_consumer("extra")
    shop.add.apply_async((1, 1), queue="extra")
    eventually(lambda: count("extra") == 1)
    with here.connection_for_write() as connection:
        assert connection.default_channel.queue_purge("extra") == 1


def test_events():
    seen = Counter()

    def collect():
        with here.connection_for_read() as connection:
            handlers = {"*": lambda event: seen.update([event["type"]])}
            receiver = here.events.Receiver(connection, handlers)
            ready.set()
            try:
                receiver.capture(limit=None, timeout=10, wakeup=True)
            except TimeoutError:
                pass

    ready = threading.Event()
    threading.Thread(target=collect, daemon=True).start()
    ready.wait()
    # The receiver's queue is bound some time after that: an event before it is nobody's.
    eventually(lambda: value(shop.add.delay(1, 1)) and seen["task-succeeded"] > 0)
    eventually(lambda: seen["worker-heartbeat"] > 0)


def test_results_as_messages():
    results = [answered.send_task("shop.add", (number, 1)) for number in range(50)]
    assert [value(result) for result in results] == list(range(1, 51))


def test_failure_as_a_message():
    with pytest.raises(ValueError, match="gone"):
        value(answered.send_task("shop.fail", ("gone",)))


def test_quorum_queue():
    results = [quorum.send_task("shop.add", (number, 1)) for number in range(50)]
    assert [value(result) for result in results] == list(range(1, 51))


def test_delay_through_queues_that_expire():
    asked = time.time()
    # Three seconds are two of the queues, one after the other.
    assert count("celery_delayed_0") == count("celery_delayed_1") == 0
    assert value(quorum.send_task("shop.now", countdown=3)) >= asked + 3
