"""examples/etcd as it stands: three members on three hosts, applied, rolled, killed, and taken away again."""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.hosts.commanding import Client
from tests.hosts.conftest import ConnectSsh
from tests.hosts.sshd import Sshd, SshHost, SshNetwork
from tests.system.launcher_host import DEADLINE_S, wait_for

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "etcd" / "cluster.toml"
HOSTS = "etcd[1-3]"
_PAUSE_S = 0.1


class Members:
    """The members, as a client of theirs on the network sees them.

    Args:
        network: Three hosts.
    """

    def __init__(self, network: SshNetwork) -> None:
        self._enter = network.enter
        self.urls = [f"http://{host.address}:2379" for host in network.ssh_hosts]

    def ctl(self, *command: str, urls: list[str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run etcdctl to its end."""
        line = [*self._enter, "etcdctl", f"--endpoints={','.join(urls or self.urls)}", "--command-timeout=3s", *command]
        return subprocess.run(line, capture_output=True, text=True, timeout=DEADLINE_S, check=False)

    def told(self, *command: str, urls: list[str] | None = None) -> str:
        """What etcdctl prints; it has to end well."""
        done = self.ctl(*command, urls=urls)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def are_well(self) -> None:
        """All three are healthy, each knows all three, and they are members for good."""
        health = json.loads(self.told("endpoint", "health", "-w", "json"))
        assert [one["health"] for one in health] == [True] * 3
        members = json.loads(self.told("member", "list", "-w", "json"))["members"]
        assert sorted(member["name"] for member in members) == ["etcd1", "etcd2", "etcd3"]
        assert not any(member.get("isLearner") for member in members)

    @contextmanager
    def written_to(self) -> Iterator[list[int]]:
        """While this is entered numbers are written, one after the other, each again until it is taken."""
        taken: list[int] = []
        failed: list[BaseException] = []
        ends = threading.Event()

        def write_one() -> bool:
            return self.ctl("put", "number", str(len(taken) + 1)).returncode == 0

        def write() -> None:
            try:
                while not ends.wait(_PAUSE_S):
                    wait_for(write_one, what="a write")
                    taken.append(len(taken) + 1)
            except BaseException as error:  # noqa: BLE001 - it is raised where the test is
                failed.append(error)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            yield taken
        finally:
            ends.set()
            writer.join()
        assert not failed, failed


def prepare(network: SshNetwork) -> None:
    """Have the hosts know each other by the example's names, and keep their data apart."""
    names = "".join(f"{host.address} etcd{number}\n" for number, host in enumerate(network.ssh_hosts, 1))
    for host in network.ssh_hosts:
        (host.place / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
        (host.place / "etcd").mkdir(mode=0o700)
        for ours, theirs in (("hosts", "/etc/hosts"), ("etcd", "/var/lib/etcd")):
            host._namespaces.run("mount", "--bind", str(host.place / ours), theirs)
    network.write_config(
        *(
            f"Host etcd{number}\n HostName {host.address}\n HostKeyAlias {host.name}"
            for number, host in enumerate(network.ssh_hosts, 1)
        )
    )


def job(host: SshHost) -> dict[str, object]:
    return host.job("etcd")


@pytest.mark.timeout(240)  # three servers start twice, and one three times
def test_three_members_are_applied_rolled_killed_and_taken_away(connect_ssh: ConnectSsh, tmp_path: Path) -> None:
    """[A1] [A2] [A8] [A11] [S36] [S38]"""
    if not (shutil.which("etcd") and shutil.which("etcdctl")):
        pytest.skip("etcd-server and etcd-client are not installed; root gets them by: make setup-dev")
    network = connect_ssh(*(Sshd(),) * 3)
    prepare(network)
    client, members = Client(network, HOSTS), Members(network)
    file = tmp_path / "cluster.toml"
    file.write_text(EXAMPLE.read_text())

    client.over("serve")
    assert client.launch("apply", "--wait-ready", str(file)).stdout.endswith("\netcd[1-3]: started etcd, ready\n")
    members.are_well()
    members.told("put", "key", "value")

    # One member after the other takes a change, and whoever writes meanwhile can go on.
    file.write_text(EXAMPLE.read_text().replace("--snapshot-count=10000", "--snapshot-count=5000"))
    before = [job(host)["pid"] for host in network.ssh_hosts]
    with members.written_to() as taken:
        wait_for(lambda: taken, what="the first write")
        done = client.launch("apply", "--rolling", "1", str(file))
        during = len(taken)
        wait_for(lambda: len(taken) > during, what="a write after the roll")
    changed = [line.partition(":")[0] for line in done.stdout.splitlines() if ": changed etcd, ready, pid " in line]
    assert changed == ["etcd1", "etcd2", "etcd3"]
    assert during >= 3
    after = [job(host)["pid"] for host in network.ssh_hosts]
    assert not set(before) & set(after)
    members.are_well()

    # One dies, is started again, and has what it had and what was written since.
    host = network.ssh_hosts[1]
    os.kill(int(str(job(host)["pid"])), signal.SIGKILL)
    wait_for(lambda: job(host)["state"] == "ready" and job(host)["restarts"] == 1, timeout_s=60.0, what="the member")
    members.are_well()
    assert members.told("get", "key", "--print-value-only", urls=members.urls[1:2]) == "value\n"
    assert members.told("get", "number", "--print-value-only", urls=members.urls[1:2]) == f"{taken[-1]}\n"
    assert client.launch("diff", str(file)).stdout == ""

    assert client.over("unload", "etcd") == "etcd[1-3]: etcd: unloaded\n"
    assert client.launch("diff", str(file), status=1).stdout == "etcd[1-3]: start etcd\n"
    for one in network.ssh_hosts:
        assert sorted(one.processes()) == sorted([one.keeper_pid, one.launcher_pid])
