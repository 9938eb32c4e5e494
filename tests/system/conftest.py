"""Fixtures of the tests on real processes."""

from collections.abc import Iterator

import pytest
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
def host(place: Host) -> Host:
    """A private place where a launcher serves; at the end nothing of it is left, or the test fails."""
    place.serve()
    return place
