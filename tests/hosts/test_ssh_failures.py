"""Each way to fail to reach a host over ssh: its own error, one line that names the host, in time."""

import asyncio
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tests.hosts.commanding import Client
from tests.hosts.conftest import ConnectSsh
from tests.hosts.sshd import Sshd, SshNetwork, make_key
from tests.hosts.test_ssh import drive, settled

from relaunch import __version__
from relaunch.client.masters import Master, Record, connections
from relaunch.client.ssh import connect_host
from relaunch.client.ssh_command import check_host
from relaunch.client.versions import compatible
from relaunch.errors import (
    BadHost,
    HostKeyRefused,
    HostUnreachable,
    NoLauncher,
    NotAuthenticated,
    NotInstalled,
    OtherVersion,
    ProtocolBroken,
    RelaunchError,
    TimedOut,
)

IN_TIME_S = 6.0


def fails(host: str, kind: type[RelaunchError], *words: str, timeout_s: float = 10.0) -> None:
    """Connecting fails with this error, and says this, soon."""

    async def work() -> None:
        begin = time.monotonic()
        with pytest.raises(kind) as raised:
            async with connect_host(host, timeout_s=timeout_s):
                pass
        assert type(raised.value) is kind
        assert time.monotonic() - begin < IN_TIME_S
        message = raised.value.message
        assert message.startswith(f"{host}: ")
        assert all(word in message for word in words), message

    drive(work())


@pytest.fixture
def network(connect_ssh: ConnectSsh) -> SshNetwork:
    """Three hosts without launchers; the third has no launch."""
    return connect_ssh(Sshd(), Sshd(), Sshd(installed=False))


def test_no_launcher_runs_there(network: SshNetwork) -> None:
    """[R3]"""
    fails("host1", NoLauncher, "ssh host1 launch serve --background")
    network.ssh_hosts[0].serve()
    drive(settled(network.ssh_hosts[0]))
    network.ssh_hosts[0].launch("shutdown")
    fails("host1", NoLauncher, "ssh host1 launch serve --background")


def test_no_launch_is_installed_there(network: SshNetwork) -> None:
    """[R3]"""
    fails("host3", NotInstalled, "install")


def test_there_is_no_such_host(network: SshNetwork) -> None:
    """[R3]"""
    fails("no-such-host.invalid", HostUnreachable, "resolve")


def test_nobody_listens_there(network: SshNetwork) -> None:
    """[R3]"""
    network.ssh_hosts[1].kill_sshd()
    fails("host2", HostUnreachable, "refused")


def test_a_host_that_is_cut_off(network: SshNetwork) -> None:
    """[R3]"""
    network.ssh_hosts[1].cut()
    fails("host2", TimedOut, "2 seconds", timeout_s=2.0)


def test_a_login_shell_that_hangs(connect_ssh: ConnectSsh) -> None:
    """[R3] [R7]"""
    network = connect_ssh(Sshd(slow_s=4.0))
    fails("host1", TimedOut, timeout_s=1.5)
    assert len(network.masters()) == len(connections()) == 1


def test_another_host_key(network: SshNetwork) -> None:
    """[R3]"""
    host = network.ssh_hosts[1]
    host.serve()
    for path in (host.place / "host_key", host.place / "host_key.pub"):
        path.unlink()
    make_key(host.place / "host_key")
    host.kill_sshd()
    host.start_sshd()
    fails("host2", HostKeyRefused, "changed", "ssh host2")


def test_an_unknown_host_key(network: SshNetwork) -> None:
    """[R3]"""
    (network.client / "known_hosts").write_text("")
    fails("host2", HostKeyRefused, "not known")


def test_a_key_that_is_not_accepted_is_not_waited_for(network: SshNetwork) -> None:
    """[R3]"""
    make_key(network.client / "another_key")
    network.write_config(f"IdentityFile {network.client}/another_key")
    network.user_key.unlink()
    fails("host2", NotAuthenticated, "cannot ask", "ssh-add")


def test_an_older_launch_that_knows_no_bridge(connect_ssh: ConnectSsh) -> None:
    """[R3]"""
    network = connect_ssh(Sshd(launch="echo \"launch: invalid choice: 'bridge'; see launch --help\" >&2; exit 2"))
    assert network.ssh_hosts
    fails("host1", OtherVersion, "older", "install")


def test_another_launch_that_cannot_be_talked_to(connect_ssh: ConnectSsh) -> None:
    """[R3] [R28]"""
    script = 'printf \'{"relaunch":"0.99.1","host":"host1","socket":"/x"}\\0\'; exec cat'
    connect_ssh(Sshd(launch=script))
    fails("host1", OtherVersion, "0.99.1", __version__, "install")


JOINS_ANOTHER = r"""exec python3 -c '
import os, socket
path = os.environ["XDG_RUNTIME_DIR"] + "/other.sock"
print("{\"relaunch\":\"VERSION\",\"host\":\"x\",\"socket\":\"" + path + "\"}", end="\0", flush=True)
launcher = socket.socket(socket.AF_UNIX)
launcher.connect(path)
launcher.sendall(os.read(0, 9999))
os.write(1, launcher.recv(9999))
os.read(0, 9999)
'"""


def test_a_launcher_of_another_version_is_asked_nothing_over_either_way(connect_ssh: ConnectSsh) -> None:
    """[R3] [R28] As one that runs on while another version has been installed."""
    network = connect_ssh(Sshd(launch=JOINS_ANOTHER.replace("VERSION", __version__)))
    (host,) = network.ssh_hosts
    (host.place / "run").mkdir(mode=0o700, exist_ok=True)
    there = str(host.place / "run" / "other.sock")
    words = ("launcher has version 0.99.2", __version__, "ssh host1 launch serve --replace")
    heard = []

    def play(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                peer, _ = listener.accept()
                with peer, suppress(OSError):
                    peer.settimeout(IN_TIME_S)
                    heard.append(peer.recv(9999))
                    peer.sendall(b'{"parameters":{"version":"0.99.2"}}\0')
                    heard.append(peer.recv(9999))

    async def forward() -> None:
        master = Master.of(host.name)
        path, pid = await master.forward(there), await master.pid()
        assert path
        assert pid
        master.write(Record(host=host.name, pid=pid, how="forward", path=path))

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(there)
        listener.listen()
        player = threading.Thread(target=play, args=(listener,))
        player.start()
        fails("host1", OtherVersion, *words)
        drive(forward())
        fails("host1", OtherVersion, *words)
        said = Client(network, "host1").over("submit", "-l", "p1", "--", "true", status=3)
        assert all(word in said for word in words)
        listener.shutdown(socket.SHUT_RDWR)
        player.join()
    assert len(heard) >= 6
    assert all(b"GetInfo" in one for one in heard if one)


@pytest.mark.parametrize(
    ("version", "ours", "understood"),
    [
        ("0.1.0", "0.1.9", True),
        ("0.1", "0.1.9", True),
        ("0.2.0", "0.1.0", False),
        ("1.0.0", "0.1.0", False),
        ("1.0.0", "1.9.3", True),
        ("2.0.0", "1.0.0", False),
        ("10.0", "1.0", False),
        ("", "0.1.0", False),
        (None, "0.1.0", False),
        (7, "0.1.0", False),
    ],
)
def test_which_versions_understand_one_another(version: object, ours: str, *, understood: bool) -> None:
    """[R28]"""
    assert compatible(version, ours) is understood


@pytest.mark.parametrize(
    ("script", "word"), [("exit 0", "exited with 0"), ("echo broken >&2; exit 1", "broken"), ("yes", "65536")]
)
def test_something_else_in_the_place_of_launch(connect_ssh: ConnectSsh, script: str, word: str) -> None:
    """[R3]"""
    connect_ssh(Sshd(launch=script))
    fails("host1", ProtocolBroken, word)


def test_without_ssh(network: SshNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """[R3]"""
    monkeypatch.setenv("PATH", "/nowhere")
    fails("host1", HostUnreachable, "install")


HOSTILE = [
    "",
    "-oProxyCommand=touch TOUCHED",
    "-oProxyCommand=touch${IFS}TOUCHED",
    "user@-oProxyCommand=x",
    "ssh://-oProxyCommand=x",
    "-v",
    "--",
    "host1 touch TOUCHED",
    "host1\ntouch TOUCHED",
    "host1\0",
    "host1\x1b[2J",
    "`touch TOUCHED`",
    "$(touch TOUCHED)",
    "host1;touch TOUCHED",
    "host1|x",
    "a&b",
    "'x'",
    "x" * 300,
]


def test_a_hostile_name_is_refused_and_nothing_is_executed(network: SshNetwork, tmp_path: Path) -> None:
    """[R4]"""
    touched = tmp_path / "touched"
    network.write_config("ProxyCommand sh -c 'echo %h %r; exit 1'")
    for host in HOSTILE:
        with pytest.raises(BadHost) as raised:
            connect_host(host.replace("TOUCHED", str(touched)))
        assert raised.value.message.isprintable()
        assert (network.ssh_runs(), touched.exists()) == (0, False)


@pytest.mark.parametrize(
    "host", ["n1", "n1.example.org", "user@n1", "10.0.0.1", "fe80::1%eth0", "ssh://user@n1:2222", "n_1", "ü.example"]
)
def test_an_ordinary_name_is_taken(host: str) -> None:
    """[R4]"""
    assert check_host(host) == host


def test_a_busy_sshd_is_tried_again(connect_ssh: ConnectSsh) -> None:
    """[R2] [R6]"""
    network = connect_ssh(Sshd(options=("MaxStartups 10",)))
    (host,) = network.ssh_hosts
    host.serve()
    names = [f"alias{number}" for number in range(30)]
    network.write_config(f"Host {' '.join(names)}\n HostName {host.address}\n HostKeyAlias {host.name}")

    async def one(name: str) -> None:
        async with connect_host(name, timeout_s=40.0) as launcher:
            assert await launcher.list() == []

    async def work() -> None:
        await asyncio.gather(*map(one, names))
        assert len(connections()) == len(names)

    drive(work())
    log = (host.place / "sshd.log").read_text()
    assert log.count("Accepted publickey") == len(names)
    assert "MaxStartups" in log, "nothing was turned away; this proves nothing"
