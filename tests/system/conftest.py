"""Fixtures of the tests on real processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.keeper_process import KeeperProcess, Launcher, keeper
from tests.system.launcher_host import Host


@pytest.fixture
def place() -> Iterator[Host]:
    """A private place where nothing serves yet; whatever serves there at the end is shut down."""
    host = Host()
    try:
        yield host
    finally:
        host.end()


@pytest.fixture
def fresh(place: Host) -> Host:
    """A private place where a launcher serves; at the end nothing of it is left, or the test fails."""
    place.serve()
    return place


@pytest.fixture
def host(fresh: Host) -> Host:
    """The same, save in a file that shares its launchers, see ``shared``."""
    return fresh


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Host]]:
    """The one launcher that tests of a file share, if it is there and well."""
    hosts: list[Host] = []
    yield hosts
    for host in hosts:
        host.end()


@pytest.fixture
def shared(hosts: list[Host]) -> Iterator[Host]:
    """A launcher that has served other tests of the file: their jobs have ended, their history is there.

    A file that can live with that says so, by a fixture ``host`` of its own. Who has damaged it is the last to use it.
    """
    if not hosts:
        hosts.append(Host())
        hosts[0].serve()
    yield hosts[0]
    if not hosts[0].tidy():
        hosts.pop().end()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[KeeperProcess]:
    """A keeper of its own, with the test in the launcher's place."""
    with keeper(tmp_path) as process:
        yield process


@pytest.fixture
def launcher(running: KeeperProcess) -> Launcher:
    """The test as that keeper's launcher, up."""
    return running.launcher().up()
