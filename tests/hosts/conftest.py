"""Fixtures of the tests on hosts of their own."""

import os
from collections.abc import Callable, Iterator

import pytest
from tests.hosts.network import Network
from tests.hosts.sshd import Sshd, SshNetwork

Connect = Callable[[int], Network]
ConnectSsh = Callable[..., SshNetwork]


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


@pytest.fixture
def connect_ssh(monkeypatch: pytest.MonkeyPatch) -> Iterator[ConnectSsh]:
    """Makes a network of hosts with an sshd as described, five ordinary ones unless told otherwise.

    This process is the client then: its environment finds the client's ssh and directories.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can make hosts out of namespaces")
    networks: list[SshNetwork] = []

    def make(*sshds: Sshd) -> SshNetwork:
        network = SshNetwork(*(sshds or (Sshd(),) * 5))
        networks.append(network)
        for name, value in network.env.items():
            monkeypatch.setenv(name, value)
        return network

    try:
        yield make
    finally:
        for network in networks:
            network.close()


@pytest.fixture(scope="session")
def networks() -> Iterator[list[SshNetwork]]:
    """The one network that tests share, if it is there and well."""
    networks: list[SshNetwork] = []
    yield networks
    for network in networks:
        network.close()


@pytest.fixture
def five(networks: list[SshNetwork], monkeypatch: pytest.MonkeyPatch) -> Iterator[SshNetwork]:
    """Five ordinary hosts with launchers that have served other tests: no connection and no job is there, only history.

    A test may cut off a host, end its sshd or its launcher, and have it vanish: it is mended. Who changes more of a
    network, or counts on what is in a journal, makes a network of its own.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can make hosts out of namespaces")
    if not networks:
        networks.append(SshNetwork(*(Sshd(),) * 5))
        networks[0].serve()
    for name, value in networks[0].env.items():
        monkeypatch.setenv(name, value)
    network = networks.pop()
    try:
        yield network
        network.mend()
    except BaseException:
        network.close()
        raise
    networks.append(network)
