"""Sockets that the keeper listens on for jobs: bound, watched, handed over, kept, and closed."""

import errno
import os
import signal
import socket
import stat
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path

import pytest
from tests.system.keeper_process import (
    DEADLINE_S,
    KeeperProcess,
    Launcher,
    exit_of,
    keeper,
    output_of,
    own_bytes,
    spawn_order,
    status,
    until,
)

NOBODY = 65534
Spec = Mapping[str, object]
# What a program does that is given its sockets: it checks whether they are for it, and answers each with its name.
SERVER = """
import os, select, socket
assert os.environ["LISTEN_PID"] == str(os.getpid())
names = os.environ["LISTEN_FDNAMES"].split(":")
assert os.environ["LISTEN_FDS"] == str(len(names))
served = {}
for fd, name in enumerate(names, 3):
    assert os.get_blocking(fd)
    served[socket.socket(fileno=fd)] = name
while True:
    for ready in select.select(list(served), [], [])[0]:
        answer = f"{served[ready]} {os.getpid()}".encode()
        if ready.type == socket.SOCK_DGRAM:
            ready.sendto(answer, ready.recvfrom(100)[1])
        else:
            ready.accept()[0].sendall(answer)
"""
FDS = ("ls", "-l", "/proc/self/fd")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the paths of Unix sockets are short enough."""
    assert len(str(tmp_path)) < 90
    return tmp_path


def listen_order(key: str, **sockets: Spec) -> dict[str, object]:
    return {"op": "listen", "key": key, "sockets": [[name, spec] for name, spec in sockets.items()]}


def listen(launcher: Launcher, key: str, **sockets: Spec) -> list[str]:
    """Have the keeper listen; gives the addresses."""
    launcher.send(listen_order(key, **sockets))
    return [address for _, address in launcher.expect("listening", key=key)["addresses"]]


def watch(launcher: Launcher, key: str) -> None:
    launcher.send({"op": "watch", "key": key})


def loopback(host: str = "127.0.0.1", **more: object) -> dict[str, object]:
    return {"port": 0, "host": host, "addresses": [[host, 0]], **more}


def dial(address: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A connection to a path, or to a port of this host's."""
    if address.startswith("/"):
        connection = socket.socket(socket.AF_UNIX, kind)
        target: object = address
        if kind == socket.SOCK_DGRAM:
            connection.bind(b"")  # any name of the abstract kind, so that there can be an answer
    else:
        host, _, port = address.rpartition(":")
        host = {"[::]": "::1", "0.0.0.0": "127.0.0.1"}.get(host, host.strip("[]"))
        connection = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        target = host, int(port)
    connection.settimeout(DEADLINE_S)
    try:
        connection.connect(target)  # type: ignore[arg-type] # either form of an address
    except BaseException:
        connection.close()
        raise
    return connection


def answer(address: str, kind: int = socket.SOCK_STREAM) -> str:
    """What the server there answers."""
    with dial(address, kind) as connection:
        if kind == socket.SOCK_DGRAM:
            connection.send(b"?")
        return connection.recv(100).decode()


def spawn_server(launcher: Launcher, key: str, sockets: str, **fields: object) -> int:
    launcher.spawn(key, sys.executable, "-ISc", SERVER, sockets=sockets, **fields)
    return int(launcher.expect("spawned", key=key)["pid"])


def test_a_real_server_is_handed_every_kind(launcher: Launcher, directory: Path) -> None:
    """[S31] From descriptor 3 on, in order, with names, for its own process id, blocking, and none of them is lost."""
    unix = {kind: str(directory / kind) for kind in ("stream", "dgram", "seqpacket")}
    specs: dict[str, Spec] = {
        "tcp4": loopback(kind="stream"),
        "tcp6": loopback("::1"),
        "udp4": loopback(kind="dgram"),
        "udp6": loopback("::1", kind="dgram"),
        **{kind: {"kind": kind, "path": path} for kind, path in unix.items()},
    }
    addresses = dict(zip(specs, listen(launcher, "job", **specs), strict=True))
    assert {kind: addresses[kind] for kind in unix} == unix
    pid = spawn_server(launcher, "job.1", "job")
    kinds = {"udp4": socket.SOCK_DGRAM, "udp6": socket.SOCK_DGRAM, "dgram": socket.SOCK_DGRAM}
    kinds["seqpacket"] = socket.SOCK_SEQPACKET
    for name, address in addresses.items():
        assert answer(address, kinds.get(name, socket.SOCK_STREAM)) == f"{name} {pid}"


def test_names_may_repeat_and_order_is_kept(launcher: Launcher, directory: Path) -> None:
    """[S31] More sockets than there are small numbers free, and their numbers in the keeper crossed with those due."""
    for number in range(3):
        listen(launcher, f"before{number}", web=loopback())
    launcher.send({"op": "close", "key": "before1"})
    sockets = [["web" if number % 2 else "api", loopback()] for number in range(20)]
    launcher.send({"op": "listen", "key": "job", "sockets": sockets})
    addresses = [address for _, address in launcher.expect("listening", key="job")["addresses"]]
    pid = spawn_server(launcher, "job.1", "job")
    assert [answer(address) for address in addresses] == [f"{name} {pid}" for name, _ in sockets]


def test_nothing_else_is_inherited(tmp_path: Path) -> None:
    """[S31] Neither with sockets nor without: the keeper's descriptors and environment, others' sockets."""
    leaked = os.open(tmp_path, os.O_RDONLY)
    with keeper(tmp_path, pass_fds=[leaked], env=os.environ | {"LISTEN_FDS": "7", "LISTEN_PID": "1"}) as running:
        launcher = running.launcher().up()
        listen(launcher, "other", web=loopback())
        listen(launcher, "job", web=loopback(), api=loopback())
        with_sockets = {"0", "1", "2", "3", "4", "5"}  # the last is that of the listing
        cases: list[tuple[str, dict[str, object], set[str]]] = [
            ("plain", {}, {"0", "1", "2", "3"}),
            ("prepared", {"nice": 1}, {"0", "1", "2", "3"}),
            ("globbing", {"globbing": True}, {"0", "1", "2", "3"}),
            ("handed", {"sockets": "job"}, with_sockets),
            ("all", {"sockets": "job", "nice": 1, "globbing": True, "low_priority_io": True}, with_sockets),
        ]
        for name, fields, expected in cases:
            shown = output_of(launcher, tmp_path / name, *FDS, **fields)
            links = {line.split()[-3]: line.split()[-1] for line in shown.splitlines() if "->" in line}
            assert links.keys() == expected
            assert sum(link.startswith("socket:") for link in links.values()) == (2 if expected == with_sockets else 0)
        assert "LISTEN" not in output_of(launcher, tmp_path / "environment", "env")
    os.close(leaked)


@pytest.mark.usefixtures("root")
def test_sockets_go_with_every_other_wish(launcher: Launcher, directory: Path) -> None:
    """[S31] [S32] [S30] User, limits, priorities and patterns."""
    path = Path("/tmp") / f"rl-{os.getpid()}"  # where anybody may enter
    script = 'echo $LISTEN_FDS $LISTEN_FDNAMES $(($LISTEN_PID == $$)) $(id -u) $(nice) $(ulimit -n) "$@"'
    listen(launcher, "job", a={"path": str(path), "mode": 0o640}, b=loopback())
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    who = {"uid": NOBODY, "gid": NOBODY, "groups": []}
    wishes = {"user": who, "own_output": True, "nice": 3, "limits": {"nofile": [17, 17]}, "globbing": True}
    argv = ("sh", "-c", script, "sh", "/bin/tru[e]", "/no/such/*")
    shown = output_of(launcher, directory / "out", *argv, sockets="job", **wishes)
    assert shown == f"2 a:b 1 {NOBODY} 3 17 /bin/true /no/such/*\n"
    launcher.send({"op": "close", "key": "job"})
    until(lambda: not path.exists(), "the path is removed")


@pytest.mark.parametrize(
    ("fields", "what", "number"),
    [
        ({"argv": ["no-such-tool"], "program": "no-such-tool"}, "program", errno.ENOENT),
        ({"program": "/etc/passwd"}, "program", errno.EACCES),
        ({"cwd": "/no/such"}, "cwd", errno.ENOENT),
        ({"stdout": "/no/such"}, "stdout", errno.ENOENT),
        ({"limits": {"nofile": [9, 5]}}, "limit", errno.EINVAL),
        ({"argv": ["sleep", "x" * (1 << 20)]}, "program", errno.E2BIG),
        ({"sockets": "nobody's"}, "socket", errno.ENOTCONN),
    ],
)
def test_a_failed_start_is_as_precise_as_without(
    running: KeeperProcess, launcher: Launcher, fields: dict[str, object], what: str, number: int
) -> None:
    """[S31] [S23] What failed, the error, nothing left behind, and the socket is there for the next try."""
    (address,) = listen(launcher, "job", web=loopback())
    running.settled()
    descriptors = running.descriptors()
    launcher.send(spawn_order("job.1", "sleep", "1000", sockets="job") | fields)
    launcher.expect("failed", key="job.1", what=what, errno=number)
    running.settled()
    assert (running.children(), running.descriptors()) == ([launcher.pid], descriptors)
    pid = spawn_server(launcher, "job.1", "job")
    assert answer(address) == f"web {pid}"


# Listening


def test_what_is_held_is_not_bound_again(running: KeeperProcess, launcher: Launcher) -> None:
    """[S31] The same order again gets the same report."""
    launcher.send(listen_order("job", web=loopback()))
    first = launcher.expect("listening", key="job")
    running.settled()
    descriptors = running.descriptors()
    launcher.send(listen_order("job", web=loopback()), {"op": "close", "key": "never heard of"})
    assert launcher.report() == first
    running.settled()
    assert running.descriptors() == descriptors


def test_every_address_takes_callers_of_both_families(launcher: Launcher) -> None:
    """[S31] No host and no family is both; with a family it is that one alone, and the port is free in the other."""
    (both,) = listen(launcher, "both", web={"port": 0})
    assert both.startswith("[::]:")
    port = both.rpartition(":")[2]
    for host in ("127.0.0.1", "[::1]"):
        dial(f"{host}:{port}").close()
    (four,) = listen(launcher, "four", web={"port": 0, "family": "ipv4"})
    port = four.rpartition(":")[2]
    (six,) = listen(launcher, "six", web={"port": int(port), "family": "ipv6"})
    assert (four, six) == (f"0.0.0.0:{port}", f"[::]:{port}")
    launcher.send({"op": "close", "key": "four"})
    launcher.send(listen_order("again", web={"port": int(port), "family": "ipv6"}))
    launcher.expect("failed", key="again", what="socket", errno=errno.EADDRINUSE, subject=f"*:{port}")
    with pytest.raises(ConnectionRefusedError):
        dial(f"127.0.0.1:{port}")


def test_every_address_of_a_name_is_bound(launcher: Launcher) -> None:
    """[S31] To one port; what this host has no address for is left out, unless nothing is left."""
    addresses = [["127.0.0.1", 0], ["::1", 0], ["2001:db8::1", 0]]
    found = listen(launcher, "job", web={"port": 0, "host": "localhost", "addresses": addresses})
    port = found[0].rpartition(":")[2]
    assert found == [f"127.0.0.1:{port}", f"[::1]:{port}"]
    order = listen_order("none", web={"port": 0, "host": "elsewhere", "addresses": addresses[2:]})
    launcher.send(order)
    launcher.expect("failed", what="socket", errno=errno.EADDRNOTAVAIL, subject="elsewhere:0")


def test_what_cannot_be_bound_leaves_nothing(running: KeeperProcess, launcher: Launcher, directory: Path) -> None:
    """[S31] Address or path are named; the sockets before it are closed, and their paths removed."""
    plain, dead_end, live = directory / "plain", directory / "no" / "where", directory / "live"
    plain.write_text("precious")
    (directory / "link").symlink_to(plain)
    running.settled()
    descriptors = running.descriptors()
    with closing(socket.socket(socket.AF_UNIX)) as held, closing(socket.create_server(("127.0.0.1", 0))) as taken:
        held.bind(str(live))  # that it does not listen yet does not make it dead
        port = taken.getsockname()[1]
        cases: list[tuple[Spec, int, str]] = [
            ({"path": str(plain)}, errno.EEXIST, str(plain)),
            ({"path": str(directory / "link")}, errno.EEXIST, str(directory / "link")),
            ({"path": str(directory)}, errno.EEXIST, str(directory)),
            ({"path": str(dead_end)}, errno.ENOENT, str(dead_end)),
            ({"path": "/" + "x" * 120}, errno.ENAMETOOLONG, "/" + "x" * 120),
            *(({"path": str(live), "kind": kind}, errno.EADDRINUSE, str(live)) for kind in ("stream", "dgram")),
            (loopback() | {"port": port}, errno.EADDRINUSE, f"127.0.0.1:{port}"),
            (loopback("192.0.2.1"), errno.EADDRNOTAVAIL, "192.0.2.1:0"),
        ]
        for spec, number, subject in cases:
            launcher.send(listen_order("job", first={"path": str(directory / "first")}, second=spec))
            launcher.expect("failed", key="job", what="socket", errno=number, subject=subject)
            assert not (directory / "first").exists()
    launcher.send(
        {"op": "listen", "key": "job"}, listen_order("job", web={}), listen_order("job", web={"port": 1 << 20})
    )
    for _ in range(3):
        launcher.expect("failed", key="job")
    watch(launcher, "job")
    launcher.expect("failed", key="job", what="socket", errno=errno.ENOTCONN)
    assert plain.read_text() == "precious"
    assert live.exists()
    running.settled()
    assert running.descriptors() == descriptors


@pytest.mark.parametrize("kind", ["stream", "dgram", "seqpacket"])
def test_the_path_of_a_dead_socket_is_taken_over(launcher: Launcher, directory: Path, kind: str) -> None:
    """[S31] Whatever kind it was of; and it is removed by `close`, unless it is another's by then."""
    path = directory / "socket"
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(path))
    assert listen(launcher, "job", web={"path": str(path), "kind": kind}) == [str(path)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    launcher.send({"op": "close", "key": "job"})
    until(lambda: not path.exists(), "its file is removed")
    listen(launcher, "job", web={"path": str(path), "kind": kind, "mode": 0o666})
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    path.rename(directory / "aside")  # so that the number of its file is not used again
    path.write_text("another's")
    launcher.send({"op": "close", "key": "job"})
    assert exit_of(launcher, "next", "true") == 0
    assert path.read_text() == "another's"


def test_modes_do_not_stay_with_the_keeper(launcher: Launcher, directory: Path) -> None:
    """[S31] Its umask is what it was, after a failure too."""
    before = output_of(launcher, directory / "before", "sh", "-c", "umask", umask=None)
    listen(launcher, "job", web={"path": str(directory / "a"), "mode": 0o123})
    launcher.send(listen_order("other", web={"path": "/no/where/a", "mode": 0o123}))
    launcher.expect("failed")
    assert output_of(launcher, directory / "after", "sh", "-c", "umask", umask=None) == before


# Watching


def test_a_call_is_told_once(running: KeeperProcess, launcher: Launcher, directory: Path) -> None:
    """[S31] When it comes, or at once where it has come; then no more, and not at all to who did not ask."""
    path = str(directory / "datagrams")
    address, _ = listen(launcher, "job", web=loopback(), log={"kind": "dgram", "path": path})
    watch(launcher, "job")
    watch(launcher, "job")
    running.settled()
    with dial(address), dial(path, socket.SOCK_DGRAM) as sender:
        launcher.expect("called", key="job")
        sender.send(b"?")
        assert exit_of(launcher, "next", "true") == 0, "nothing else is said"
        watch(launcher, "job")
        launcher.expect("called", key="job")
    running.settled()
    before = status(running.pid, "voluntary_ctxt_switches")
    with dial(address), pytest.raises(TimeoutError):
        launcher.report(0.5)
    assert status(running.pid, "voluntary_ctxt_switches") == before, "what nobody watches does not wake it"


def test_what_is_closed_is_watched_no_more(running: KeeperProcess, launcher: Launcher) -> None:
    """[S31] Though a job that still runs has a copy of the socket."""
    (address,) = listen(launcher, "job", web=loopback())
    watch(launcher, "job")
    launcher.spawn("job.1", "sleep", "1000", sockets="job")
    launcher.expect("spawned")
    launcher.send({"op": "close", "key": "job"})
    assert exit_of(launcher, "next", "true") == 0
    running.settled()
    before = status(running.pid, "voluntary_ctxt_switches")
    with dial(address), pytest.raises(TimeoutError):
        launcher.report(0.5)
    assert status(running.pid, "voluntary_ctxt_switches") == before


def test_many_watched_sockets_cost_little(running: KeeperProcess, launcher: Launcher) -> None:
    """[S31] [S24] A descriptor and less than 2 KiB each."""
    before = own_bytes(running.pid)
    for number in range(300):
        launcher.send(listen_order(f"job{number}", web=loopback()))
    addresses = [report["addresses"] for report in launcher.reports("listening", 300).values()]
    for number in range(300):
        watch(launcher, f"job{number}")
    running.settled()
    assert own_bytes(running.pid) - before < 300 * 2048 + 200 * 1024
    with dial(addresses[7][0][1]):
        launcher.expect("called", key="job7")


# Deaths


def test_sockets_outlive_the_launcher(running: KeeperProcess, launcher: Launcher) -> None:
    """[S31] [S21] Killed between `listen` and `spawn`: a caller waits, and the next launcher hands the socket over."""
    (address,) = listen(launcher, "job", web=loopback())
    launcher.send(listen_order("unread", web=loopback()))
    launcher.kill()
    with dial(address) as waiting:
        second = running.launcher()
        second.expect("hello", listening=["job", "unread"])
        second.send({"op": "up"})
        watch(second, "job")
        second.expect("called", key="job")
        pid = spawn_server(second, "job.1", "job")
        assert waiting.recv(100).decode() == f"web {pid}"


def test_a_watch_that_nobody_heard_of_is_ordered_anew(running: KeeperProcess, launcher: Launcher) -> None:
    """[S31] [S21] Called while no launcher was there to be told; the next one's watch tells at once."""
    (address,) = listen(launcher, "job", web=loopback())
    os.kill(launcher.pid, signal.SIGSTOP)
    watch(launcher, "job")
    with dial(address):
        running.settled()
        launcher.kill()
        second = running.launcher().up()
        watch(second, "job")
        second.expect("called", key="job")


def test_the_next_keeper_binds_again(tmp_path: Path, directory: Path) -> None:
    """[S31] [S22] Once nothing has the sockets of a dead keeper any more; before that it says who stands in the way."""
    path = str(directory / "socket")
    with keeper(tmp_path) as running:
        launcher = running.launcher().up()
        address, _ = listen(launcher, "job", web=loopback(), unix={"path": path})
        pid = spawn_server(launcher, "job.1", "job")
        os.kill(running.pid, signal.SIGKILL)
        running.process.wait()
        os.kill(launcher.pid, signal.SIGKILL)
    port = int(address.rpartition(":")[2])
    spec: dict[str, Spec] = {"web": loopback() | {"port": port}, "unix": {"path": path}}
    with keeper(tmp_path) as running:
        launcher = running.launcher().up()
        assert answer(address) == f"web {pid}", "the job goes on serving"
        launcher.send(listen_order("job", **spec))
        launcher.expect("failed", what="socket", errno=errno.EADDRINUSE, subject=address)
        launcher.send(listen_order("job", unix=spec["unix"]))
        launcher.expect("failed", what="socket", errno=errno.EADDRINUSE, subject=path)
        os.kill(pid, signal.SIGKILL)
        until(lambda: not _is_bound(address), "the job has gone")
        assert listen(launcher, "job", **spec) == [address, path]
        second = spawn_server(launcher, "job.2", "job")
        assert answer(address) == f"web {second}"
        assert answer(path) == f"unix {second}"


def _is_bound(address: str) -> bool:
    with suppress(ConnectionRefusedError), dial(address):
        return True
    return False


def test_a_run_that_ends_leaves_the_socket_to_the_next(launcher: Launcher, directory: Path) -> None:
    """[S31] Callers meanwhile are not refused, and modes that the last run had set do not stay."""
    (address,) = listen(launcher, "job", web=loopback())
    unblock = "import os; os.set_blocking(3, False)"
    assert exit_of(launcher, "job.1", sys.executable, "-ISc", unblock, sockets="job") == 0
    with dial(address) as waiting:
        pid = spawn_server(launcher, "job.2", "job")
        assert waiting.recv(100).decode() == f"web {pid}"
