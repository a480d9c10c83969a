"""The programs under test: started on loopback in a directory of their own, ended by their own pid."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from .amqp import AmqpError, Connection

# A broker that takes longer than this to accept a client is taken to be broken.
START_TIMEOUT_S = 120
# Data are thrown away afterwards, so that an end in good order is a courtesy with a bound.
STOP_TIMEOUT_S = 20


class Failure(Exception):
    """What went wrong, in one line."""


class Server:
    """A broker that runs."""

    def __init__(self, uri, directory, pid=None, start_s=None):
        self.uri = uri
        self.directory = directory
        # None for a broker that somebody else started: what needs its process is left out.
        self.pid = pid
        # From exec to the first accepted connection.
        self.start_s = start_s

    def resident(self):
        return self._status("VmRSS")

    def resident_peak(self):
        return self._status("VmHWM")

    def processor_s(self):
        """The processor time of all its threads since its start, without the kernel's."""
        # The name, in parentheses, may have spaces.
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) / os.sysconf("SC_CLK_TCK")

    def _status(self, name):
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
        raise Failure(f"the system does not tell {name} of the broker")


class Leveret:
    name = "leveret"

    def __init__(self, path):
        self.path = path

    @contextlib.contextmanager
    def start(self, base, *options):
        with _directory(base) as directory, contextlib.ExitStack() as stack:
            port = free_port()
            if "--in-memory" not in options:
                options = ("--data-dir", str(directory / "data"), *options)
            command = [self.path, "--listen", f"127.0.0.1:{port}", "--log", "warn", *options]
            environment = {k: v for k, v in os.environ.items() if not k.startswith("LEVERET_")}
            yield _start(stack, command, environment, directory, port, poll_s=0.0002)


class Relay:
    name = "relay"

    def __init__(self, path):
        self.path = path

    @contextlib.contextmanager
    def start(self, base, *_options):
        with _directory(base) as directory, contextlib.ExitStack() as stack:
            port = free_port()
            yield _start(stack, [self.path, str(port)], dict(os.environ), directory, port)


class RabbitMQ:
    name = "rabbitmq"

    def __init__(self, script):
        self.script = script

    @contextlib.contextmanager
    def start(self, base, *_options):
        with _directory(base) as directory, contextlib.ExitStack() as stack:
            port, distribution, mapper = free_port(), free_port(), free_port()
            for name in ("home", "mnesia", "log"):
                (directory / name).mkdir()
            for name in ("env.conf", "rabbitmq.conf", "advanced.config"):
                (directory / name).write_text("[].\n" if name == "advanced.config" else "")
            (directory / "enabled_plugins").write_text("[].\n")
            environment = {
                "PATH": os.environ["PATH"],
                "LANG": "C.UTF-8",
                "HOME": str(directory / "home"),
                "ERL_EPMD_ADDRESS": "127.0.0.1",
                "ERL_EPMD_PORT": str(mapper),
                "RABBITMQ_NODENAME": "leveret_compare@localhost",
                "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
                "RABBITMQ_NODE_PORT": str(port),
                "RABBITMQ_DIST_PORT": str(distribution),
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
                "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
                "RABBITMQ_LOG_BASE": str(directory / "log"),
                "RABBITMQ_PID_FILE": str(directory / "pid"),
                "RABBITMQ_CONF_ENV_FILE": str(directory / "env.conf"),
                "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq"),
                "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "advanced.config"),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
                # why: the script becomes the Erlang VM then instead of waiting for it, so that the
                # pid is the VM's: what is measured, and what is ended.
                "RUNNING_UNDER_SYSTEMD": "true",
            }
            # why: Erlang would start its port mapper as a daemon that outlives the broker.
            mapper_path = shutil.which("epmd")
            if not mapper_path:
                raise Failure("there is no epmd, which comes with Erlang, in the PATH")
            _spawn(stack, [mapper_path], environment, directory / "epmd.log")
            _accepts(mapper, None, "epmd", directory / "epmd.log", 0.005)
            yield _start(stack, [self.script], environment, directory, port, poll_s=0.005)


class External:
    """A RabbitMQ that somebody else started."""

    name = "rabbitmq"

    def __init__(self, uri):
        self.uri = uri

    @contextlib.contextmanager
    def start(self, base, *_options):
        with _directory(base) as directory:
            yield Server(self.uri, directory)


def rabbitmq_script():
    """The script that starts RabbitMQ as the user who calls it, or None."""
    # why: what Debian has in the PATH is a wrapper for root that changes to another user.
    debian = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    if os.access(debian, os.X_OK):
        return str(debian)
    return shutil.which("rabbitmq-server")


def versions(uri):
    """What a broker says of itself: its version and what it runs on."""
    connection = Connection(uri)
    try:
        said = [connection.server_property(name) for name in ("version", "platform")]
    finally:
        connection.close()
    return [text for text in said if text]


def free_port():
    """A port that nobody uses, below those that the system gives to clients."""
    # why: whoever asks again and again for a connection to a port that clients get is, sooner or
    # later, given that very port, and connected with itself.
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


@contextlib.contextmanager
def _directory(base):
    directory = Path(tempfile.mkdtemp(prefix="leveret-compare-", dir=base))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _start(stack, command, environment, directory, port, poll_s=0.001):
    log = directory / "output.log"
    begin = time.monotonic()
    process = _spawn(stack, command, environment, log)
    _accepts(port, process, command[0], log, poll_s)
    start_s = time.monotonic() - begin
    uri = f"amqp://guest:guest@127.0.0.1:{port}/"
    # why: RabbitMQ takes clients in a moment after its socket does.
    deadline = begin + START_TIMEOUT_S
    while True:
        try:
            Connection(uri).close()
            return Server(uri, directory, process.pid, start_s)
        except (OSError, AmqpError) as error:
            if time.monotonic() > deadline:
                raise Failure(f"{Path(command[0]).name} takes no client: {error}") from None
            time.sleep(0.1)


def _spawn(stack, command, environment, log):
    try:
        with open(log, "wb") as output:
            # why: a session of its own, as Ctrl-C is for this script, which ends its children itself.
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise Failure(f"cannot run {command[0]}: {error.strerror}") from None
    stack.callback(stop, process)
    return process


def stop(process):
    """Ends a child: in order, or else at once."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
        finally:
            # why: a second Ctrl-C must not leave it behind.
            if process.poll() is None:
                process.kill()
                process.wait()


def _accepts(port, process, name, log, poll_s):
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process is not None and process.poll() is not None:
            lines = log.read_text(errors="replace").split("\n")
            said = next((line.strip() for line in reversed(lines) if line.strip()), "nothing said")
            raise Failure(f"{Path(name).name} ended with {process.returncode}: {said}")
        if time.monotonic() > deadline:
            raise Failure(f"{Path(name).name} accepts no connection after {START_TIMEOUT_S} s")
        time.sleep(poll_s)
