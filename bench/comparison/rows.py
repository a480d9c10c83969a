"""What is measured: each row a load, its figures and what they aim at."""

import contextlib
import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from typing import Callable

from .amqp import AmqpError, Connection
from .brokers import Failure, stop

MIB, KIB = 1 << 20, 1 << 10

ACKED = ("--prefetch", "1000", "--ack-every", "100")
DURABLE = ("--size", "100", "--durable", "--persistent", *ACKED)
WINDOW_OF_TEN = (
    "ten in flight are one window after the other: a sync, and then the way of its confirms and of what the client "
    "publishes next, from the log thread to the writer, to the client, to the reader and back to the log thread. Each of "
    "them sleeps until the one before wakes it, and the disk has nothing to do meanwhile; the floor, which wakes two of "
    "the four, shows in the row before what those take. A sync after such a pause takes longer, too, than one right behind "
    "another, as which the disk's own are counted."
)
ONE_IN_A_HUNDRED = (
    "at this rate a message is alone on its way, and its time is that of four threads that are woken one after the other; "
    "the floor, which does nothing else, shows what of it is theirs."
)
SYNC_AND_BACK = (
    "a confirm is a sync and the way to it and back, from the socket to the log thread and to the socket again; a sync that "
    "is slow holds up all that came meanwhile, in leveret as in the loop."
)
PACE = 2_000
PACED = ("--rate", str(PACE), "--size", "100", "--prefetch", "100", "--ack-every", "1")


@dataclass(frozen=True)
class Aim:
    """A bound on a figure, or on what it is of another one's."""

    bound: float
    # The broker whose figure is the measure; None when the bound is a figure itself.
    against: str | None = None
    at_most: bool = False


@dataclass(frozen=True)
class Figure:
    key: str
    what: str
    # "/s", "µs", "ms", "octets" or "" for a mere number.
    unit: str
    aims: tuple[Aim, ...] = ()
    # What keeps it from its aims where it does not reach them, as a profile showed.
    limit: str = ""


@dataclass(frozen=True)
class Row:
    number: int
    name: str
    figures: tuple[Figure, ...]
    # (run, broker) to what each figure came to.
    measure: Callable
    # Seconds with a leveret, with RabbitMQ, with the relay; what the window takes comes on top.
    seconds: tuple[float, float, float]
    windows: int = 1
    brokers: tuple[str, ...] = ("leveret", "rabbitmq", "relay")


@dataclass
class Run:
    """How the rows are measured."""

    perf: str
    directory: str
    seconds: float
    quick: bool = False
    # (syncs a second, p50, p99 in microseconds) of the disk itself, each time it was asked.
    syncs: list = field(default_factory=list)
    # (p50, p99 in microseconds) of appends that are due at PACE, each time.
    paced_syncs: list = field(default_factory=list)

    def scaled(self, count, quick):
        """A count, or the smaller one of a quick run."""
        return quick if self.quick else count

    def load(self, server, *options, count=None, again=False):
        """Lets `leveret perf` work, and returns what it says; `again` when the server is used again."""
        if count is None:
            options = (*options, "--seconds", str(self.seconds))
        else:
            options = (*options, "--count", str(count))
        # why: RabbitMQ takes a minute to delete a hundred queues that it was flooded with, and goes
        # with all that is in it anyway. One that was running before is left as it was.
        if server.pid is not None and not again and "--keep" not in options:
            options = (*options, "--keep")
        # why: a run that hangs must not hold all the others up.
        bound_s = 240 + (self.seconds if count is None else count / 5_000)
        process = subprocess.Popen(
            [self.perf, "perf", "--uri", server.uri, "--json", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            printed, said = process.communicate(timeout=bound_s)
        except subprocess.TimeoutExpired:
            raise Failure(f"no end of the load after {bound_s:.0f} s") from None
        finally:
            stop(process)
        try:
            summary = json.loads(printed)
        except ValueError:
            lines = said.strip().splitlines() or [f"exit code {process.returncode}"]
            raise Failure(f"leveret perf: {lines[0]}") from None
        if summary["error"] or not summary["complete"]:
            raise Failure(f"leveret perf: {summary['error'] or 'messages are missing'}")
        return summary

    def sync_rate(self):
        """What the disk alone does: 512 octets appended and synced, again and again."""
        took_s = []
        with self._log() as append:
            begin = time.perf_counter()
            while (now := time.perf_counter()) - begin < (0.3 if self.quick else 1.0):
                append(512)
                took_s.append(time.perf_counter() - now)
        rate = len(took_s) / sum(took_s)
        p50, p99 = _percentiles_us(took_s)
        self.syncs.append((rate, p50, p99))
        return rate, p50, p99

    def paced_sync(self):
        """What the disk alone does when messages are due at PACE: a loop that appends all that are due and
        syncs, as a group commit would, and how long that is. From when each was due while the loop was busy
        with those before it; else from when the loop woke, as a load is not late to itself either."""
        took_s, begun, woken = [], 0, 0.0
        with self._log() as append:
            begin = time.perf_counter()
            while (now := time.perf_counter() - begin) < (0.5 if self.quick else self.seconds):
                due = int(now * PACE) + 1
                if due == begun:
                    time.sleep(max(0.0, due / PACE - now))
                    woken = time.perf_counter() - begin
                    continue
                append(128 * (due - begun))
                synced = time.perf_counter() - begin
                took_s.extend(synced - max(number / PACE, woken) for number in range(begun, due))
                begun = due
        self.paced_syncs.append(_percentiles_us(took_s))
        return self.paced_syncs[-1]

    @contextlib.contextmanager
    def _log(self):
        """A file that is gone afterwards, as a function that appends so many octets and syncs them."""
        path = os.path.join(self.directory, f"leveret-compare-sync-{os.getpid()}")
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)

        def append(count):
            os.write(descriptor, b"\x55" * count)
            os.fdatasync(descriptor)

        try:
            yield append
        finally:
            os.close(descriptor)
            os.unlink(path)


def pick(name):
    """The rows that a name or a number stands for."""
    found = [row for row in ROWS if name in (row.name, str(row.number))]
    if not found:
        known = ", ".join(row.name for row in ROWS)
        raise Failure(f"there is no row {name}; there are {known}, and 1 to {ROWS[-1].number}")
    return found


def rate(field, *options):
    """A load as fast as it goes, and the rate that counts."""

    def measure(run, broker):
        with broker.start(run.directory) as server:
            return {"rate": run.load(server, *options)[field]}

    return measure


def consume(run, broker):
    with broker.start(run.directory) as server:
        backlog = run.scaled(1_000_000, 50_000)
        run.load(server, "--consumers", "0", "--keep", count=backlog)
        # This deletes the queue of one that was running before.
        summary = run.load(server, "--producers", "0", *ACKED, count=backlog)
        return {"rate": summary["delivered_per_s"]}


def confirm_10(run, broker):
    disk, _, _ = run.sync_rate()
    with broker.start(run.directory) as server:
        confirmed = run.load(server, *DURABLE, "--confirm", "10")["confirmed_per_s"]
    # why: no more than all ten can share a sync. The relay writes to no disk.
    share = {} if broker.name == "relay" else {"share": confirmed / 10 / disk}
    return {"rate": confirmed, **share}


def latency(run, broker):
    with broker.start(run.directory) as server:
        return _latency(run.load(server, *PACED), "delivery_latency_us")


def confirm_latency(run, broker):
    # The relay writes to no disk.
    alone_p99 = None if broker.name == "relay" else run.paced_sync()[1]
    with broker.start(run.directory) as server:
        options = (*PACED, "--durable", "--persistent", "--confirm", "1000")
        measured = _latency(run.load(server, *options), "confirm_latency_us")
    return measured if alone_p99 is None else {**measured, "alone": measured["p99"] / alone_p99}


def idle(run, broker):
    with broker.start(run.directory) as server, contextlib.ExitStack() as stack:
        _needs_process(server)

        def connect(count):
            for _ in range(count):
                stack.callback(Connection(server.uri).close)

        def declare(count):
            connection = Connection(server.uri)
            connection.declare_queues(f"idle-{count}", count, durable=True)
            connection.close()

        return {
            "idle": _settled(server),
            "connection": _each(server, connect, 1_000),
            "queue": _each(server, declare, run.scaled(10_000, 2_000)),
        }


def backlog(*options):
    def measure(run, broker):
        with broker.start(run.directory, *options) as server:
            _needs_process(server)
            count = run.scaled(1_000_000, 100_000)
            run.load(server, "--consumers", "0", "--keep", "--size", "100", count=count)
            return {"resident": _settled(server), "peak": server.resident_peak()}

    return measure


def start(run, broker):
    # why: what takes milliseconds wants more than one look; what takes seconds does not need it.
    looks = 11 if broker.name == "leveret" else 1
    took_ms = []
    for _ in range(looks):
        with broker.start(run.directory, "--in-memory") as server:
            _needs_process(server)
            took_ms.append(server.start_s * 1e3)
    return {"start": sorted(took_ms)[looks // 2]}


def growth_queues(run, broker):
    with broker.start(run.directory) as server:
        # why: alone, beside, beside, alone: whatever makes a later run faster or slower does so to both.
        alone = [run.load(server, again=True)["delivered_per_s"]]
        connection = Connection(server.uri)
        connection.declare_queues("idle", run.scaled(100_000, 10_000), exclusive=True)
        beside = [run.load(server, again=True)["delivered_per_s"] for _ in range(2)]
        connection.close()
        alone.append(run.load(server, again=True)["delivered_per_s"])
        return {"queues": _part(sum(beside), sum(alone))}


def growth_backlog(depth, *options):
    """What a message costs the broker in processor time when its queue is deep, of what it costs near the top.

    `depth` is how many wait where it is not deep.

    why: its own time, without the kernel's. Memory and page cache that the machine has not touched since it
    was started cost the kernel a multiple in a virtual machine, and it is the deep end that comes upon them.
    """

    def measure(run, broker):
        part, deep = run.scaled(4_000_000, 200_000), run.scaled(10_000_000, 500_000)
        with broker.start(run.directory, *options) as server:
            _needs_process(server)

            def cost(count, *direction):
                before = _at_rest(server)
                run.load(server, "--keep", *direction, count=count)
                return (_at_rest(server) - before) / count

            def publish(count):
                return cost(count, "--consumers", "0")

            def consume(count):
                return cost(count, "--producers", "0", *ACKED)

            # why: like with like. A message that waits in memory takes some that the broker had not touched
            # before, near the top as well as deep down; so nothing is consumed before all is published.
            publish(run.scaled(100_000, 10_000))
            if depth:
                publish(run.scaled(depth, depth // 20))
            at_top = publish(part)
            publish(deep - part)
            published = _part(publish(part), at_top)
            at_depth = consume(part)
            # A consumer that is told how many to take has a few more on their way when it ends.
            consume(deep - part - part // 2)
            return {
                "publish": published,
                "consume": _part(at_depth, consume(part)),
                "resident": server.resident_peak(),
            }

    return measure


def _needs_process(server):
    if server.pid is None:
        raise Failure("needs a broker that was started here")


def _latency(summary, field):
    measured = summary[field]
    if measured is None:
        raise Failure("leveret perf: no message was measured")
    return {"p50": measured["p50"], "p99": measured["p99"]}


def _part(one, other):
    """One rate as a part of another."""
    if not other:
        raise Failure("there was nothing to divide by: a window was too short")
    return one / other


def _percentiles_us(took_s):
    took_s = sorted(took_s)
    return tuple(took_s[int(len(took_s) * part)] * 1e6 for part in (0.5, 0.99))


def _at_rest(server):
    """The processor time that it has taken, in seconds, when it does nothing any more."""
    last, deadline = server.processor_s(), time.monotonic() + 10
    while time.monotonic() < deadline:
        time.sleep(0.2)
        now = server.processor_s()
        if now - last <= 0.01:
            return now
        last = now
    return last


def _each(server, make, count):
    """The memory that one of many takes."""
    # why: the first of a kind bring buffers and pages to be that all others share.
    make(count // 5)
    before = _settled(server)
    make(count)
    return (_settled(server) - before) / count


def _settled(server):
    """The resident memory when nothing happens any more, or after ten seconds."""
    last, deadline = server.resident(), time.monotonic() + 10
    while time.monotonic() < deadline:
        time.sleep(1)
        now = server.resident()
        if abs(now - last) <= 64 * KIB:
            return now
        last = now
    return last


def _faster(times, of_floor=None):
    floor = () if of_floor is None else (Aim(of_floor, "relay"),)
    return (Aim(times, "rabbitmq"), *floor)


def _rate(what, times, of_floor=None):
    return (Figure("rate", what, "/s", _faster(times, of_floor)),)


# What row 6 asks of the rate: within twice what the disk does alone.
NEAR = Aim(2, at_most=True)
# A cost that grows by a fifth at most.
FLAT, FLAT_COST = Aim(1 / 1.2), Aim(1.2, at_most=True)
WITHOUT_FLOOR = ("leveret", "rabbitmq")
ALONE = ("leveret",)

# In the order of the table.
ROWS = (
    Row(1, "pair-16", _rate("16 B transient, one producer, one consumer, auto-ack: delivered", 25, 0.3),
        rate("delivered_per_s"), (2, 12, 1)),
    Row(2, "pair-1k", _rate("the same at 1 KiB: delivered", 6, 0.5),
        rate("delivered_per_s", "--size", "1024"), (2, 12, 1)),
    Row(3, "publish", _rate("publish only, 16 B transient, nobody consumes: published", 25),
        rate("published_per_s", "--consumers", "0"), (3, 15, 1)),
    Row(4, "consume", _rate("consume only, a queue filled before, prefetch 1,000, ack each 100: delivered", 20),
        consume, (4, 50, 0), windows=0, brokers=WITHOUT_FLOOR),
    Row(5, "confirm-1000",
        _rate("100 B persistent, durable queue, 1,000 confirms in flight, ack each 100: confirmed", 12),
        rate("confirmed_per_s", *DURABLE, "--confirm", "1000"), (2, 12, 1)),
    Row(6, "confirm-10",
        (*_rate("the same with 10 in flight: confirmed", 2),
         Figure("share", "the same in syncs of ten confirms, of what the disk does a second", "", (Aim(0.5),),
                limit=WINDOW_OF_TEN)),
        confirm_10, (3, 13, 1)),
    Row(7, "fan-out", _rate("fan-out to 10 queues, 10 consumers: delivered", 20),
        rate("delivered_per_s", "--fanout", "--queues", "10", "--consumers", "10"), (2, 12, 1)),
    Row(8, "many", _rate("100 producers, 100 consumers, 100 queues: delivered", 15),
        rate("delivered_per_s", "--producers", "100", "--consumers", "100", "--queues", "100"), (3, 15, 2)),
    Row(9, "topic", _rate("topic exchange with 10,000 bindings, each message to one: delivered", 15),
        rate("delivered_per_s", "--topic-bindings", "10000"), (3, 25, 2)),
    Row(10, "latency",
        (Figure("p50", "latency at 2,000/s, ack each: p50", "µs", (Aim(0.5, "rabbitmq", at_most=True),)),
         Figure("p99", "latency at 2,000/s, ack each: p99", "µs", (Aim(0.5, "rabbitmq", at_most=True),),
                limit=ONE_IN_A_HUNDRED)),
        latency, (2, 12, 1)),
    Row(11, "confirm-latency",
        (Figure("p50", "latency of confirms at 2,000/s, persistent: p50", "µs"),
         Figure("p99", "latency of confirms at 2,000/s, persistent: p99", "µs", (Aim(1, "rabbitmq", at_most=True),)),
         Figure("alone", "that p99, of what a loop that appends and syncs alone has", "", (NEAR,),
                limit=SYNC_AND_BACK)),
        confirm_latency, (3, 13, 1), windows=2),
    Row(12, "idle",
        (Figure("idle", "memory, idle", "octets", (Aim(10 * MIB, at_most=True),)),
         Figure("connection", "memory of an idle connection with a channel", "octets", (Aim(16 * KIB, at_most=True),)),
         Figure("queue", "memory of an empty durable queue", "octets", (Aim(2 * KIB, at_most=True),))),
        idle, (8, 40, 0), windows=0, brokers=WITHOUT_FLOOR),
    Row(13, "backlog-memory",
        (Figure("resident", "memory with 1,000,000 queued messages of 100 B, all in memory", "octets",
                (Aim(200 * MIB, at_most=True),)),
         Figure("peak", "the same, at most while it was filled", "octets")),
        backlog("--in-memory"), (5, 35, 0), windows=0, brokers=WITHOUT_FLOOR),
    Row(13, "backlog-disk",
        (Figure("resident", "memory with the same, bodies on disk (`--memory-limit 16MiB`)", "octets",
                (Aim(40 * MIB, at_most=True),)),
         Figure("peak", "the same, at most while it was filled", "octets")),
        backlog("--memory-limit", "16MiB"), (6, 0, 0), windows=0, brokers=ALONE),
    Row(14, "start", (Figure("start", "from exec to accepting connections, empty, in memory", "ms",
                             (Aim(20, at_most=True),)),),
        start, (4, 10, 0), windows=0, brokers=WITHOUT_FLOOR),
    Row(15, "growth-queues",
        (Figure("queues", "16 B pair beside 100,000 idle queues, of the same without them", "", (FLAT,)),),
        growth_queues, (4, 0, 0), windows=4, brokers=ALONE),
    Row(15, "growth-memory",
        (Figure("publish", "user time a message, published to a queue of 10,000,000 in memory, of the first "
                           "4,000,000", "", (FLAT_COST,)),
         Figure("consume", "the same, consumed from a queue of 14,000,000, of one of 6,000,000", "", (FLAT_COST,)),
         Figure("resident", "memory at most meanwhile", "octets")),
        growth_backlog(0, "--in-memory"), (25, 0, 0), windows=0, brokers=ALONE),
    Row(15, "growth-disk",
        (Figure("publish", "user time a message, published to a queue of 12,000,000 on disk (`--memory-limit "
                           "256MiB`), of the same to one of 2,000,000", "", (FLAT_COST,)),
         Figure("consume", "the same, consumed from a queue of 16,000,000, of one of 8,000,000", "", (FLAT_COST,)),
         Figure("resident", "memory at most meanwhile", "octets")),
        growth_backlog(2_000_000, "--memory-limit", "256MiB"), (35, 0, 0), windows=0, brokers=ALONE),
)
