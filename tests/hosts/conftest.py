"""Fixtures of the tests on hosts of their own."""

import os
from collections.abc import Callable, Iterator

import pytest
from tests.hosts.network import Network

Connect = Callable[[int], Network]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes a network of so many hosts; taken down, and proven empty, at the end."""
    if os.geteuid() != 0:
        pytest.skip("only root can make hosts out of namespaces")
    networks: list[Network] = []

    def make(count: int) -> Network:
        networks.append(Network(count))
        return networks[-1]

    try:
        yield make
    finally:
        for network in networks:
            network.close()
