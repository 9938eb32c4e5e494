"""Fixtures of the tests on real processes."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.keeper_process import KeeperProcess, Launcher, keeper
from tests.system.launcher_host import Host

# A script's shell ignores it for what it puts into the background, and the commands under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def place() -> Iterator[Host]:
    """A private place where nothing serves yet; whatever serves there at the end is shut down."""
    host = Host()
    try:
        yield host
    finally:
        host.end()


@pytest.fixture
def host(place: Host) -> Host:
    """A private place where a launcher serves; at the end nothing of it is left, or the test fails."""
    place.serve()
    return place


@pytest.fixture
def running(tmp_path: Path) -> Iterator[KeeperProcess]:
    """A keeper of its own, with the test in the launcher's place."""
    with keeper(tmp_path) as process:
        yield process


@pytest.fixture
def launcher(running: KeeperProcess) -> Launcher:
    """The test as that keeper's launcher, up."""
    return running.launcher().up()
