"""A pytest plugin that runs the suite of a client library against a broker that is not the suite's.

Excluded tests are skipped, each with the reason that `exclusions.txt` gives. The last line of the run
counts: `interop: NAME: N passed, M failed, K skipped`, where NAME is in INTEROP_SUITE. In a run of
the whole suite (INTEROP_WHOLE) an exclusion that no test is subject to is a failure, so that the list
holds nothing that is over.

The suites of aiormq and aio-pika start RabbitMQ in a container. Here their module for that is replaced
by one whose every container is the broker of RABBITMQ_HOST and RABBITMQ_5672_TCP.
"""
import fnmatch
import os
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

SUITE = os.environ["INTEROP_SUITE"]


class Containers(types.ModuleType):
    class DockerHostInfo:
        pass

    class DockerNotAvailableError(Exception):
        pass

    @dataclass
    class ContainerInfo:
        id: str
        host: str
        ports: dict[str, int]

    class DockerClient:
        def __init__(self, host=None):
            pass

        def run(self, image, ports, environment=None):
            host, port = os.environ["RABBITMQ_HOST"], int(os.environ["RABBITMQ_5672_TCP"])
            # There is no TLS: what needs it is excluded and never asks for that port.
            return Containers.ContainerInfo("broker", host, {"5672/tcp": port, "5671/tcp": 0})

        def kill(self, container):
            pass

        def remove(self, container):
            pass

    @staticmethod
    def check_docker_available():
        return Containers.DockerHostInfo()


sys.modules["tests.docker_client"] = Containers("tests.docker_client")


def exclusions():
    for line in Path(__file__).with_name("exclusions.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            suite, pattern, reason = (part.strip() for part in line.split(" | "))
            if suite == SUITE:
                yield pattern, reason


class Counts:
    def __init__(self):
        self.outcomes = {}
        self.again = 0
        self.stale = []

    def pytest_collection_modifyitems(self, items):
        for pattern, reason in exclusions():
            # In a pattern only the asterisk is special; a parametrised test has brackets.
            glob = pattern.replace("[", "[[]")
            matching = [item for item in items if fnmatch.fnmatchcase(item.nodeid, glob)]
            if not matching and "INTEROP_WHOLE" in os.environ:
                self.stale.append(pattern)
            for item in matching:
                item.add_marker(pytest.mark.skip(reason=f"excluded: {reason}"))

    def pytest_runtest_logreport(self, report):
        if report.outcome == "rerun":
            self.again += 1
        # A test whose tear-down fails has failed, whatever came before.
        elif report.when == "call" or report.outcome != "passed":
            if self.outcomes.get(report.nodeid) != "failed":
                self.outcomes[report.nodeid] = report.outcome

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        if self.stale and session.exitstatus == 0:
            session.exitstatus = 1

    def pytest_unconfigure(self):
        outcomes = list(self.outcomes.values())
        for pattern in self.stale:
            print(f"no test is subject to the exclusion {pattern}")
        print(
            f"interop: {SUITE}: {outcomes.count('passed')} passed, "
            f"{outcomes.count('failed') + len(self.stale)} failed, "
            f"{outcomes.count('skipped')} skipped" + (f", {self.again} run again" if self.again else ""),
            flush=True,
        )


@pytest.fixture(scope="session")
def rabbitmq_container():
    """What the suite of aiormq takes from a file that its package lacks."""
    return Containers.DockerClient().run(None, [])


@pytest.fixture(scope="session")
def amqp_direct_url(rabbitmq_container):
    from yarl import URL

    host, port = rabbitmq_container.host, rabbitmq_container.ports["5672/tcp"]
    return URL(f"amqp://guest:guest@{host}:{port}//")


def pytest_configure(config):
    for name in ("env", "flaky"):
        config.addinivalue_line("markers", f"{name}: the suite's own")
    config.pluginmanager.register(Counts(), "interop-counts")
