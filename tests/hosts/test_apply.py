"""``launch apply`` and ``launch diff``: hosts are made what files say, and what was not done is said."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.hosts.commanding import Client
from tests.hosts.conftest import ConnectSsh
from tests.hosts.sshd import Sshd, SshHost, SshNetwork
from tests.system.launcher_host import wait_for
from tests.system.peer import call

# Told to end, it does so once a file is there, so that a test can be in the middle of that.
RELUCTANT = "trap 'until test -e $0; do sleep 0.05; done; exit 0' TERM; until false; do sleep 0.05; done"


class Files:
    """Job files in a directory of a test, and commands about them.

    Args:
        client: Who types.
        place: The directory.
    """

    def __init__(self, client: Client, place: Path) -> None:
        self.client = client
        self.place = place

    def write(self, *jobs: dict[str, Any], name: str = "kv.json", **more: Any) -> str:
        """Write a file; gives its path."""
        (self.place / name).write_text(json.dumps({"Jobs": jobs, **more}, indent=1))
        return str(self.place / name)

    def apply(self, *args: str, status: int = 0, over: str = "", env: dict[str, str] | None = None) -> list[str]:
        """What ``apply`` says, standard output first; of the file ``kv.json`` unless another path is given."""
        paths = [] if any(arg.startswith("/") for arg in args) else [f"{self.place}/kv.json"]
        hosts = ["-H", over] if over else []
        done = self.client.launch(*hosts, "apply", *args, *paths, status=status, env=env)
        return (done.stdout + done.stderr).splitlines()

    def diff(self, status: int = 0, over: str = "") -> list[str]:
        """What ``diff`` says."""
        hosts = ["-H", over] if over else []
        done = self.client.launch(*hosts, "diff", f"{self.place}/kv.json", status=status)
        return (done.stdout + done.stderr).splitlines()


def job(label: str, hosts: str, *argv: str, **more: Any) -> dict[str, Any]:
    return {"Label": label, "Hosts": hosts, "ProgramArguments": list(argv or ("sleep", "1000")), **more}


def pids(network: SshNetwork, label: str = "kv") -> dict[str, int | None]:
    """The pid that a job has on each of the first three hosts."""
    return {host.name: host.jobs().get(label, {}).get("pid") for host in network.ssh_hosts[:3]}


def argv(host: SshHost, label: str = "kv") -> list[str]:
    """What a job was started with."""
    return list(host.job(label)["argv"])


@pytest.fixture
def files(five: SshNetwork, tmp_path: Path) -> Iterator[Files]:
    """Five hosts without a job, of which the files are for three, and a place for files."""
    yield Files(Client(five, "host[1-3]"), tmp_path)
    for host in five.ssh_hosts[:3]:
        call(host.socket, "Unload", {"patterns": ["*"]})


def test_hosts_are_made_what_a_file_says_and_only_what_differs_is_touched(five: SshNetwork, files: Files) -> None:
    """[A1] [A2] [A4] [A11] [A12]"""
    kv, web = job("kv", "host[1-3]", "sleep", "10{index}"), job("web", "host1", DependsOn=["kv"])
    files.write(kv, web)
    plan = ["host[1-3]: start kv", "host1: start web"]
    assert files.apply("--dry-run") == [*plan, "4 to start, 0 to change, 0 to keep, 0 to stop, on 3 hosts"]
    assert not any("kv" in host.jobs() for host in five.ssh_hosts)
    said = files.apply()
    assert said[:4] == [
        *plan,
        "4 to start, 0 to change, 0 to keep, 0 to stop, on 3 hosts",
        "host[1-3]: started kv, running",
    ]
    assert said[4] == f"host1: started web, running, pid {pids(five, 'web')['host1']}"
    assert [argv(host) for host in five.ssh_hosts[:3]] == [["sleep", "101"], ["sleep", "102"], ["sleep", "103"]]
    before = pids(five)
    assert files.apply() == [
        "host[1-3]: keep kv",
        "host1: keep web",
        "0 to start, 0 to change, 4 to keep, 0 to stop, on 3 hosts",
    ]
    assert files.diff() == []
    files.write(kv | {"EnvironmentVariables": {"LEVEL": "{host}"}}, web)
    assert files.diff(status=1) == ["host[1-3]: change kv (env.LEVEL)"]
    files.write(kv | {"Nice": 5}, web)
    assert files.diff(status=1) == ["host[1-3]: change kv (nice unset -> 5)"]
    call(five.ssh_hosts[1].socket, "Stop", {"patterns": ["kv"]})
    files.write(kv, web)
    answers = [json.loads(line) for line in files.apply("--json")]
    plans = {one["host"]: [(step["do"], step["why"]) for step in one["plan"]] for one in answers[:3]}
    assert plans == {
        "host1": [("keep", None)] * 2,
        "host2": [("start", "stopped, signal TERM")],
        "host3": [("keep", None)],
    }
    (result,) = answers[3:]
    assert (result["host"], result["label"], result["do"], result["result"]) == ("host2", "kv", "start", "done")
    after = pids(five)
    assert result["job"]["pid"] == after["host2"]
    assert [host for host in before if after[host] != before[host]] == ["host2"]


def test_jobs_are_pruned_disabled_and_left_alone(five: SshNetwork, files: Files) -> None:
    """[A5] [A6]"""
    five.ssh_hosts[0].launch("submit", "-l", "by-hand", "--", "sleep", "1000")
    other = files.write(job("theirs", "host[1-2]"), name="other.json")
    files.write(job("kv", "host[1-3]"), job("web", "host[1-3]"), job("once", "host3", "true"))
    files.apply(str(files.place))
    call(five.ssh_hosts[2].socket, "Wait", {"patterns": ["once"]})
    assert "host3: keep once" in files.apply("--dry-run")
    files.write(job("kv", "host[1-3]", Disabled=True))
    assert sorted(files.apply("--dry-run")) == [
        "0 to start, 0 to change, 0 to keep, 3 to stop, 4 left, on 3 hosts",
        "host3: leave once (wanted no more; --prune stops it)",
        "host[1-3]: leave web (wanted no more; --prune stops it)",
        "host[1-3]: stop kv (disabled)",
    ]
    assert sorted(files.apply("--prune")[-3:]) == [
        "host3: stopped once",
        "host[1-3]: stopped kv",
        "host[1-3]: stopped web",
    ]
    assert [sorted(host.jobs()) for host in five.ssh_hosts[:3]] == [["by-hand", "theirs"], ["theirs"], []]
    # A host that the file names no more is looked at where it is typed.
    files.write(job("theirs", "host1"), name="other.json")
    assert files.apply(other)[0] == "host1: keep theirs"
    assert files.apply(other, over="host2", status=2)[0].startswith("launch: host2 is a host of no job in ")
    assert files.apply("--prune", other, over="host2")[-1] == "host2: stopped theirs"


def test_hosts_are_chosen_by_what_is_typed_and_not_by_the_environment(five: SshNetwork, files: Files) -> None:
    """[A7]"""
    files.write(job("kv", "host[1-3]", "sleep", "10{index}"), {"Label": "any", "ProgramArguments": ["sleep", "{{1}}"]})
    assert files.apply(over="host[2-3]")[:2] == ["host[2-3]: start kv", "host[2-3]: start any"]
    assert five.ssh_hosts[0].jobs() == {}
    assert argv(five.ssh_hosts[2]) == ["sleep", "103"]
    files.write(job("kv", "host[1-3]", "sleep", "10{index}"))
    said = files.apply("--dry-run", env={"LAUNCH_HOSTS": "host2"})
    assert {"host1: start kv", "host[2-3]: keep kv"} <= set(said)


def test_what_fails_stops_what_follows_on_its_host_and_what_depends_on_it(files: Files) -> None:
    """[A3] [A4]"""
    files.write(
        job("a", "host[1-3]"),
        job("b", "host2", "/no/such/program"),
        job("c", "host[1-2]", DependsOn=["b"]),
        job("d", "host3", DependsOn=["c"]),
        job("e", "host3"),
    )
    said = files.apply(status=1)
    assert said[-6] == "host[1-3]: started a, running"
    assert said[-5].startswith("host3: started e, running, pid ")
    why = "program /no/such/program: No such file or directory"
    assert sorted(said[-4:]) == [
        f"launch: host1: not begun: start c: b on host2 is not ready: failed, the last run ended with {why}",
        f"launch: host2: b was not started: {why}",
        "launch: host2: not begun: start c",
        "launch: host3: not begun: start d: c on host1 is not ready: it was not begun",
    ]


def test_a_job_waits_for_one_of_another_host_to_be_ready(five: SshNetwork, files: Files) -> None:
    """[A3]"""
    shown = files.place / "shown"
    log = job("log", "host2", Ready={"Command": ["test", "-e", str(shown)], "Interval": 0.05})
    path = files.write(job("top", "host1", DependsOn=["log"]), log, job("free", "host1"))
    with files.client.popen("apply", path) as process:
        wait_for(lambda: "log" in five.ssh_hosts[1].jobs() and "free" in five.ssh_hosts[0].jobs())
        assert "top" not in five.ssh_hosts[0].jobs()
        shown.touch()
        out, err = process.communicate(timeout=45)
    assert (err, process.returncode) == ("", 0)
    (ready,) = [event["time"] for event in five.ssh_hosts[1].events("log") if event["type"].endswith(".job.ready")]
    (begun,) = [event["time"] for event in five.ssh_hosts[0].events("top") if event["type"].endswith(".job.submitted")]
    assert ready < begun
    assert f"host1: started top, running, pid {pids(five, 'top')['host1']}\n" in out
    assert files.diff() == []


def test_a_roll_goes_on_when_jobs_are_ready_and_stops_where_they_are_not(five: SshNetwork, files: Files) -> None:
    """[A4] [A8]"""
    shown = [files.place / f"host{number}.ready" for number in (1, 2, 3)]
    for path in shown:
        path.touch()
    kv = job("kv", "host[1-3]", Ready={"Command": ["test", "-e", f"{files.place}/{{host}}.ready"], "Interval": 0.05})
    files.write(kv)
    assert files.apply("--wait-ready")[-1] == "host[1-3]: started kv, ready"
    first = pids(five)
    files.write(kv | {"Nice": 1})
    shown[1].unlink()
    said = files.apply("--rolling", "1", "--ready-timeout", "0.5", status=4)
    second = pids(five)
    assert [host for host in first if second[host] != first[host]] == ["host1", "host2"]
    assert said[-3:] == [
        f"host1: changed kv, ready, pid {second['host1']}",
        "launch: host2: changed kv: kv is not ready: running",
        "launch: host3: not begun: change kv",
    ]
    # Typed again it takes down no other host, as long as that one is not ready.
    said = files.apply("--rolling", "1", "--ready-timeout", "0.5", status=4)
    assert said[-1] == "launch: host3: not begun: change kv: kv on host2 is not ready: running"
    assert pids(five) == second
    shown[1].touch()
    said = files.apply("--rolling", "2")
    assert said[-1] == f"host3: changed kv, ready, pid {pids(five)['host3']}"
    assert files.diff() == []


def let_go(files: Files) -> None:
    """Let every job end that is told to."""
    for number in (1, 2, 3):
        (files.place / f"host{number}.end").touch()


def in_the_middle(network: SshNetwork, files: Files, *args: str) -> Any:
    """Roll a change, and come to where the first host is done and the second one waits for its job to end."""
    let_go(files)
    wait_for(lambda: all(job["state"] == "running" for host in network.ssh_hosts for job in host.jobs().values()))
    for host in network.ssh_hosts:
        call(host.socket, "Unload", {"patterns": ["*"]})
    for number in (2, 3):
        (files.place / f"host{number}.end").unlink()
    kv = job("kv", "host[1-3]", "sh", "-c", RELUCTANT, f"{files.place}/{{host}}.end", ExitTimeOut=30)
    files.write(kv)
    files.apply()
    files.write(kv | {"Nice": 1})
    process = files.client.popen("apply", "--rolling", "1", "--settle", "0.1", *args, f"{files.place}/kv.json")
    wait_for(lambda: network.ssh_hosts[1].job("kv")["state"] == "stopping", what="the second host's turn")
    return process


@pytest.mark.timeout(180)  # a host that is cut off takes some ten seconds to be noticed
def test_what_becomes_of_a_roll_that_something_comes_between(connect_ssh: ConnectSsh, tmp_path: Path) -> None:
    """[A4] [A8] [A9] [A10]"""
    network = connect_ssh(*(Sshd(),) * 3)
    network.serve()
    files, host = Files(Client(network, "host[1-3]"), tmp_path), network.ssh_hosts[1]
    # The launcher dies: it is asked again, and the step is done once.
    with in_the_middle(network, files) as process:
        os.kill(pid := host.launcher_pid, signal.SIGKILL)
        wait_for(lambda: host.socket.exists() and host.launcher_pid != pid, what="the next launcher")
        let_go(files)
        out, err = process.communicate(timeout=45)
    assert (err, process.returncode) == ("", 0)
    assert out.splitlines()[-1] == f"host3: changed kv, running, pid {pids(network)['host3']}"
    kinds = [event["type"].removeprefix("io.relaunch.") for event in host.events("kv")]
    assert kinds == ["job.submitted", "job.started", "job.stopping", "job.exited", "job.submitted", "job.started"]
    # Somebody interrupts it: what is known of each host is told.
    with in_the_middle(network, files) as process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=45)
    assert process.returncode == -signal.SIGINT
    assert out.splitlines()[-1].startswith("host1: changed kv, running, pid ")
    assert err.splitlines() == [
        "launch: host2: kv: unknown whether it was changed: interrupted before it was answered",
        "launch: host3: not begun: change kv",
    ]
    # The host is cut off: that is noticed, and no other host is touched.
    with in_the_middle(network, files, "--timeout", "3", "--json") as process:
        host.cut()
        out, err = process.communicate(timeout=45)
    host.heal()
    assert process.returncode == 4
    results = {one["host"]: one for one in map(json.loads, out.splitlines()) if "result" in one}
    assert [(name, one["result"]) for name, one in results.items()] == [
        ("host1", "done"),
        ("host2", "unknown"),
        ("host3", "not begun"),
    ]
    assert results["host2"]["error"]["name"].endswith(".OutcomeUnknown")
    assert host.job("kv")["state"] == "stopping"
    let_go(files)


def test_hosts_that_cannot_be_asked_are_named_and_left_alone(connect_ssh: ConnectSsh, tmp_path: Path) -> None:
    """[A3] [A4] [A8] [A11]"""
    network = connect_ssh(*(Sshd(),) * 3)
    files = Files(Client(network, "host[1-3]"), tmp_path)
    network.ssh_hosts[0].serve()
    kv, web = job("kv", "host[1-3]"), job("web", "host1", DependsOn=["kv"])
    files.write(kv, web, job("log", "host2"), job("top", "host1", DependsOn=["log"]))
    plan = ["host1: start kv", "host1: start web", "host1: start top"]
    nobody = "launch: host[2-3]: no launcher runs there; start it with: launch -H host[2-3] serve"
    assert files.diff(status=4) == [*plan, nobody]
    count = "3 to start, 0 to change, 0 to keep, 0 to stop, on 1 host"
    refused = (
        "launch: with --rolling nothing is begun while host[2-3] cannot be asked; nothing was changed; "
        "for the others: launch -H host1 apply"
    )
    assert files.apply("--rolling", "1", status=3) == [*plan, count, nobody, refused]
    assert network.ssh_hosts[0].jobs() == {}
    said = files.apply(status=4)
    pid = {label: job["pid"] for label, job in network.ssh_hosts[0].jobs().items()}
    assert sorted(pid) == ["kv", "web"]
    assert said[-4:] == [
        f"host1: started kv, running, pid {pid['kv']}",
        f"host1: started web, running, pid {pid['web']}",
        nobody,
        "launch: host1: not begun: start top: log on host2 is not ready: the host could not be asked",
    ]
    files.client.over("serve")
    started = [line.partition(", running")[0] for line in files.apply()[-3:]]
    assert started == ["host[2-3]: started kv", "host2: started log", "host1: started top"]
    assert files.diff() == []
