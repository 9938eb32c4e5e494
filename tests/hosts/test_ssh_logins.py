"""Ways to log in over ssh: whose key it is, through which host, who is asked; and who can make use of it all here."""

import os
import pty
import select
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tests.hosts.commanding import Client
from tests.hosts.conftest import ConnectSsh
from tests.hosts.network import run
from tests.hosts.sshd import SYSTEM_PATH, Sshd, SshHost, make_key
from tests.system.launcher_host import LAUNCH, wait_for

from relaunch.client.masters import connections
from relaunch.client.nodesets import expand
from relaunch.client.ssh_command import bridge, check_host
from relaunch.errors import BadHost

IN_TIME_S = 15.0


def logins(host: SshHost) -> int:
    return (host.place / "sshd.log").read_text().count("Accepted publickey")


def on_a_terminal(client: Client, *args: str, **env: str) -> tuple[int, str]:
    """What a ``launch`` that a person types exits with, and what it has shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(LAUNCH, [str(LAUNCH), *args], client.env | env)
    shown = b""
    give_up_at = time.monotonic() + IN_TIME_S
    try:
        with suppress(OSError):  # it has ended
            while select.select([terminal], [], [], max(0.0, give_up_at - time.monotonic()))[0]:
                shown += os.read(terminal, 4096)
        if time.monotonic() >= give_up_at:
            os.kill(pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()
    finally:
        os.close(terminal)


def test_a_key_of_the_agent_and_a_certificate_will_do_and_a_passphrase_hangs_nobody(
    connect_ssh: ConnectSsh, tmp_path: Path
) -> None:
    """[R2] [R30] On a terminal too, where many are asked: each that needs a person is named."""
    authority, certified = make_key(tmp_path / "authority"), make_key(tmp_path / "certified")
    run("ssh-keygen", "-q", "-s", str(authority), "-I", "somebody", "-n", "root", f"{certified}.pub")
    network = connect_ssh(*(Sshd(options=(f"TrustedUserCAKeys {authority}.pub",)),) * 2)
    network.serve()
    client = Client(network, "host[1-2]")

    network.write_config(f"IdentityFile {certified}", f"CertificateFile {certified}-cert.pub")
    hidden = network.user_key.rename(network.client / "hidden")
    client.over("list")
    assert [log_of(host).count("Accepted publickey for root") for host in network.ssh_hosts] == [1, 1]
    assert all("-CERT " in log_of(host) for host in network.ssh_hosts)
    client.launch("connections", "--close")

    network.write_config()
    agent = f"{network.client}/agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", agent], stdout=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: os.path.exists(agent), what="the agent")
            with_agent = {"SSH_AUTH_SOCK": agent}
            subprocess.run(["ssh-add", "-q", hidden], env=client.env | with_agent, check=True)
            client.launch("-H", client.hosts, "list", env=with_agent)
        finally:
            process.terminate()
    assert [logins(host) for host in network.ssh_hosts] == [2, 2]
    client.launch("connections", "--close")

    hidden.rename(network.user_key)
    run("ssh-keygen", "-q", "-p", "-N", "open sesame", "-f", str(network.user_key))
    askpass = network.client / "askpass"
    askpass.write_text(f"#!/bin/sh\ntouch {network.client}/was_asked\nexec sleep 60\n")
    askpass.chmod(0o755)
    status, said = on_a_terminal(client, "-H", client.hosts, "list", SSH_ASKPASS=str(askpass), DISPLAY=":9")
    assert status == 3
    assert all(f"{host.name}: ssh could not log in" in said for host in network.ssh_hosts)
    assert "passphrase for" not in said
    assert not (network.client / "was_asked").exists()
    assert network.masters() == []


def log_of(host: SshHost) -> str:
    return (host.place / "sshd.log").read_text()


BARRED = ("PubkeyAuthentication no", "PasswordAuthentication yes", "KbdInteractiveAuthentication no")


def test_a_jump_host_is_passed_and_one_that_would_ask_is_named(connect_ssh: ConnectSsh) -> None:
    """[R2] [R30] No prompt is waited for, on whatever terminal, and nothing of the way there is left."""
    network = connect_ssh(Sshd(), Sshd(options=("AcceptEnv LC_*",)), Sshd(options=BARRED), Sshd())
    jump, there, barred, dead = network.ssh_hosts
    lines = ["SendEnv LC_*"]
    for name, way in {"behind": jump, "barred": barred, "stuck": dead}.items():
        lines += [f"Host {name}", f" HostName {there.address}", f" HostKeyAlias {there.name}", f" ProxyJump {way.name}"]
    lines += ["Host closed", f" HostName {there.address}", " Port 99", f" ProxyJump {jump.name}"]
    network.write_config(*lines)
    dead.cut()
    client = Client(network, "behind,barred,stuck,closed")
    askpass = network.client / "askpass"
    askpass.write_text(f"#!/bin/sh\ntouch {network.client}/was_asked\nexec sleep 60\n")
    askpass.chmod(0o755)
    client.launch("-H", "behind", "serve", env={"LC_ALL": "C.UTF-8"})
    # A launcher hands its environment on to jobs: what ssh speaks for us is nothing to them.
    assert b"LC_ALL=C.UTF-8\0" in Path(f"/proc/{there.keeper_pid}/environ").read_bytes()
    client.launch("connections", "--close")
    typed = ("--timeout", "4", "-H", client.hosts, "submit", "-l", "p1", "--", "sleep", "120")
    began = time.monotonic()
    status, said = on_a_terminal(client, *typed, SSH_ASKPASS=str(askpass), DISPLAY=":9")
    assert time.monotonic() - began < IN_TIME_S
    assert status == 4
    assert "behind: p1: running" in said
    assert f"barred: ssh could not log in (root@{barred.address}: Permission denied (password).)" in said
    assert "stuck: " in said
    assert "closed: no connection (channel 0: open failed: connect failed: Connection refused)" in said
    assert "'s password" not in said
    assert not (network.client / "was_asked").exists()
    # Once for each, and once more to hear why it did not go on from there.
    assert (logins(jump), logins(there)) == (4, 2)
    assert client.launch("-H", "behind", "list").stdout.count("p1") == 1
    assert [one.host for one in connections()] == ["behind"]
    # The master, and the ssh to the jump host that it goes through.
    wait_for(lambda: len(network.masters()) == 2, what="the end of what was begun in vain")
    client.launch("connections", "--close")
    wait_for(lambda: network.masters() == [], what="the end of the way there")


def test_what_is_typed_through_plain_ssh_works_and_exits_as_it_should(connect_ssh: ConnectSsh) -> None:
    """[W6] And nobody else on the hosts at either end can make use of any of it. [R4] [W4] [W11]"""
    network = connect_ssh(Sshd())
    (host,) = network.ssh_hosts
    client = Client(network, host.name)

    def ssh(typed: str) -> tuple[int, str]:
        done = subprocess.run(
            ["ssh", host.name, typed],
            env=client.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    assert ssh("launch list")[0] == 3
    assert ssh("launch serve --background")[0] == 0
    assert ssh("launch submit -l o1 -p sleep 120")[0] == 0
    status, said = ssh("launch submit -l o1 -p sleep 120")
    assert (status, "in use" in said) == (1, True)
    status, said = ssh("launch list")
    assert (status, "o1" in said, "running" in said) == (0, True, True)
    assert ssh("launch list --nonsense")[0] == 2
    assert ssh("launch stop 'o*'")[0] == 0
    assert ssh("launch wait o1")[0] == 128 + signal.SIGTERM
    assert ssh("launch submit -l o2 -p sh -c 'exit 7'")[0] == 0
    assert ssh("launch wait o2")[0] == 7
    assert ssh("launch stop nothing")[0] == 1

    client.over("list")
    client.over("list")
    (forward,), (control,) = network.directory.glob("*.sock"), network.directory.glob("*.control")
    sockets = [str(host.socket), str(control), str(forward)]
    for path in (network.client, host.place):
        path.chmod(0o711)
    assert [tried(socket) for socket in sockets] == ["PermissionError"] * 3
    # As if somebody had opened the directories by mistake.
    opened = [network.directory, network.directory.parent, network.directory.parent.parent]
    opened += [host.socket.parent, host.socket.parent.parent]
    modes = [path.stat().st_mode for path in opened]
    try:
        for path in opened:
            path.chmod(0o711)
        assert [tried(socket) for socket in sockets] == ["PermissionError"] * 3
        for socket in sockets:
            os.chmod(socket, 0o777)
        assert "NotPermitted" in tried(sockets[0])
        assert tried(sockets[1]) in ("b''", "ConnectionResetError")
    finally:
        for path, mode in zip(opened, modes, strict=True):
            path.chmod(mode)


TRY = """
import socket, sys
peer = socket.socket(socket.AF_UNIX)
peer.settimeout(10)
try:
    peer.connect(sys.argv[1])
    try:
        peer.sendall(b'{"method":"io.relaunch.Launcher.List"}\\0')
    except BrokenPipeError:
        pass
    print(peer.recv(9999))
except OSError as error:
    print(type(error).__name__)
"""


def tried(path: str) -> str:
    """What comes of it when another user connects to a socket."""
    command = ["setpriv", "--reuid=2001", "--regid=2001", "--clear-groups", "/usr/bin/python3", "-IS", "-c", TRY, path]
    return subprocess.run(
        command, env={"PATH": SYSTEM_PATH}, cwd="/", capture_output=True, text=True, timeout=30, check=True
    ).stdout.strip()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("[::1]:22", ("", "::1", "22")),
        ("user@[::1]:22", ("user", "::1", "22")),
        ("user@[fe80::1%lo]:2222", ("user", "fe80::1%lo", "2222")),
        ("[::1]", ("", "::1", "22")),
        ("::1", ("", "::1", "22")),
        ("ssh://user@[::1]:99", ("user", "::1", "99")),
        ("user@n1:99", ("user", "n1", "99")),
        ("n1:99", ("", "n1", "99")),
        ("n1", ("", "n1", "22")),
        ("user@n1", ("user", "n1", "22")),
    ],
)
def test_an_address_and_a_port_are_what_they_look_like(typed: str, expected: tuple[str, str, str]) -> None:
    """[R2] [R4] To the ssh that is installed here; brackets with an address in them are no node set."""
    assert expand([typed]) == [check_host(typed)] == [typed]
    *options, _ = bridge(typed, "/x", 1.0, makes=False, prompts=False)
    done = run("ssh", "-F", "none", "-G", *options[1:])
    found = dict(line.partition(" ")[::2] for line in done.splitlines())
    user, host, port = expected
    assert (found["hostname"], found["port"]) == (host, port)
    assert not user or found["user"] == user


@pytest.mark.parametrize(
    "typed", ["[::1", "::1]", "[::1]22", "[::1]:", "[::1]:x", "[n1]", "n[1-2]", "[-oX::]", "a@[::1]:2:3"]
)
def test_a_bracket_that_closes_no_address_is_refused(typed: str) -> None:
    """[R4]"""
    with pytest.raises(BadHost):
        check_host(typed)
