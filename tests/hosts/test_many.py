"""``launch -H HOSTS COMMAND``: every command does on many hosts what it does on one."""

import json
import signal
from pathlib import Path

import pytest
from tests.hosts.commanding import Client
from tests.hosts.conftest import ConnectSsh
from tests.hosts.sshd import Sshd, SshNetwork
from tests.system.launcher_host import wait_for

from relaunch.client.masters import connections

NAMES = [f"host{number}" for number in range(1, 6)]


@pytest.fixture
def network(connect_ssh: ConnectSsh) -> SshNetwork:
    """Five ordinary hosts, with launchers."""
    network = connect_ssh()
    network.serve()
    return network


def test_jobs_are_started_listed_signalled_and_stopped(five: SshNetwork) -> None:
    """[R8] [R9] [R10]"""
    client = Client(five)
    assert client.over("submit", "-l", "p1", "--", "sleep", "120") == "host[1-5]: p1: running\n"
    head, *rows = client.over("list").splitlines()
    assert head.split()[:3] == ["HOST", "LABEL", "STATE"]
    assert [row.split()[:3] for row in rows] == [[name, "p1", "running"] for name in NAMES]
    pids = {host.name: host.job("p1")["pid"] for host in five.ssh_hosts}
    assert {name: answer["result"][0]["pid"] for name, answer in client.answers("list").items()} == pids
    assert client.over("submit", "-l", "p1", "--", "true", status=1).startswith("launch: host[1-5]: label p1 is in use")
    assert client.over("signal", "CONT", "p1") == "host[1-5]: p1: CONT sent\n"
    assert client.over("signal", "BOGUS", "p1", status=2).startswith("launch: host[1-5]: ")
    assert client.over("restart", "p*") == "host[1-5]: p1: running\n"
    assert all(host.job("p1")["pid"] != pids[host.name] for host in five.ssh_hosts)
    assert client.over("stop", "p1") == "host[1-5]: p1: stopped (TERM)\n"
    assert client.over("restart", "p1") == "host[1-5]: p1: running\n"
    assert client.over("kill", "p1") == "host[1-5]: p1: stopped (KILL)\n"
    assert client.over("stop", "nothing", status=1).startswith("launch: host[1-5]: ")
    said = client.over("list", "nothing", "p1", status=1)
    assert "launch: host[1-5]: no job has the label nothing\n" in said
    assert [line.split()[:2] for line in said.splitlines() if "p1" in line] == [[name, "p1"] for name in NAMES]


def test_one_host_is_told_of_like_many(five: SshNetwork) -> None:
    """[R9]"""
    client = Client(five, "host3")
    pid = client.over("submit", "-l", "p1", "--", "sleep", "120").removeprefix("host3: p1: running, pid ").strip()
    assert client.over("list", "p1").splitlines()[1].split()[:4] == ["host3", "p1", "running", pid]
    assert client.launch("-H", "root@host3:22", "stop", "p1").stdout == "root@host3:22: p1: stopped (TERM)\n"


def test_words_stand_for_something_else_on_each_host(five: SshNetwork) -> None:
    """[R11]"""
    client = Client(five)
    script = 'echo "$0 $WHO {index}/{count} {hosts}"; printf "{{}}"; exit {index}'
    line = ["submit", "-l", "{host}/p{index}", "--env", "WHO={host}", "--cwd", "/", "--", "sh", "-c", script, "{{x}}"]
    client.over(*line)
    assert client.over("wait", "{host}/*", status=1).count(" ended: code ") == 5
    assert client.over("wait", "host[3-5]/*", status=4).count("host[1-2]: ") == 1
    for number, host in enumerate(five.ssh_hosts, 1):
        job = host.job(f"{host.name}/p{number}")
        assert job["exit"]["code"] == number
        assert host.launch("logs", job["label"]).stdout == f"{{x}} {host.name} {number}/5 {','.join(NAMES)}\n{{}}"
    for text in ("{x}", "{host", "host}", "{}", "{host }"):
        said = client.over("submit", "-l", "refused", "--", "echo", text, status=2)
        assert "{{" in said
        assert said.count("\n") == 1
    assert not any("refused" in host.jobs() for host in five.ssh_hosts)


def test_paths_are_of_the_other_host(five: SshNetwork) -> None:
    """[R11]"""
    client = Client(five, "host1")
    for line in (["--cwd", "x", "--", "true"], ["--stdout", "x", "--", "true"], ["--", "./program"]):
        assert "absolute" in client.over("submit", "-l", "p1", *line, status=2)
    out = five.ssh_hosts[0].place / "out"
    client.over("submit", "-l", "p1", "--stdout", str(out), "--cwd", "/usr", "--", "pwd")
    client.over("wait", "p1")
    assert out.read_text() == "/usr\n"


def test_what_is_known_is_told(five: SshNetwork) -> None:
    """[R9]"""
    client = Client(five)
    client.over("submit", "-l", "p1", "--", "sh", "-c", "exit 0")
    client.over("wait", "p1")
    told = client.over("status")
    assert all(f"{host.name}:\n" in told and f"pid {host.keeper_pid}" in told for host in five.ssh_hosts)
    assert {name: answer["result"]["host"] for name, answer in client.answers("status").items()} == {
        name: name for name in NAMES
    }
    assert client.over("status", "p1").count("  label ") == 5
    assert client.answers("status", "p1")["host4"]["result"]["spec"]["argv"] == ["sh", "-c", "exit 0"]
    assert client.over("subscriptions").startswith("HOST ")
    assert client.answers("subscriptions")["host1"]["result"] == []
    assert client.over("unsubscribe", "x", status=1) == "launch: host[1-5]: there is no subscription 'x'\n"
    assert client.answers("wait", "p1")["host5"]["result"][0]["exit"]["code"] == 0


def test_waiting_ends_as_the_first_job_that_failed(five: SshNetwork) -> None:
    """[R10]"""
    client = Client(five)
    client.over("submit", "-l", "p1", "--", "sh", "-c", "exit $((({index} - 1) * 7))")
    assert client.over("wait", "p1", status=7).splitlines() == [
        f"launch: host{number}: p1 ended: code {(number - 1) * 7}" for number in range(2, 6)
    ]
    client.over("submit", "-l", "p2", "--", "sh", "-c", "exec sleep 0.$(({index} * 2))")
    assert client.over("wait", "p2") == ""
    five.ssh_hosts[4].launch("shutdown")
    assert "launch: host5: no launcher runs there" in client.over("wait", "p1", status=4)


def test_launchers_are_started_where_none_runs(connect_ssh: ConnectSsh) -> None:
    """[R14]"""
    network = connect_ssh()
    client = Client(network)
    network.ssh_hosts[1].serve()
    said = client.over("list", status=4)
    assert "launch: host[1,3-5]: no launcher runs there; start it with: launch -H host[1,3-5] serve\n" in said
    said = client.over("serve")
    assert said == (
        f"host[1,3-5]: the launcher serves\nhost2: it serves already: keeper pid {network.ssh_hosts[1].keeper_pid}\n"
    )
    pids = {host.name: host.launcher_pid for host in network.ssh_hosts}
    assert client.over("serve", "--background") == "host[1-5]: it serves already\n"
    assert client.over("serve", "--replace") == "host[1-5]: the launcher was replaced\n"
    assert all(host.launcher_pid != pids[host.name] for host in network.ssh_hosts)
    client.over("submit", "-l", "p1", "--", "sleep", "120")
    assert client.over("shutdown", "--leave-jobs") == "host[1-5]: the launcher has ended; its jobs run on\n"
    assert client.over("serve") == "host[1-5]: the launcher serves\n"
    assert client.over("list").count("running") == 5
    assert client.over("shutdown") == "host[1-5]: the launcher has ended\n"
    assert client.over("list", status=3) == (
        "launch: host[1-5]: no launcher runs there; start it with: launch -H host[1-5] serve\n"
    )


def test_why_a_launcher_cannot_be_started_is_told(connect_ssh: ConnectSsh) -> None:
    """[R14] In the words of the host where it was tried."""
    network = connect_ssh(Sshd())
    state = Path(network.ssh_hosts[0].env["XDG_STATE_HOME"])
    state.mkdir(exist_ok=True)
    (state / "relaunch").write_text("in the way")
    said = Client(network, "host1").over("serve", status=1)
    assert said.startswith(f"launch: host1: directory {state}/relaunch"), said
    assert "no launcher" not in said


def test_a_launcher_elsewhere_is_for_itself_whatever_its_shell_says(connect_ssh: ConnectSsh) -> None:
    """[R14]"""
    # As in a home that is shared: each host would have the others serve, and so on.
    network = connect_ssh(Sshd(env="LAUNCH_HOSTS=host2"), Sshd())
    client = Client(network, "host1")
    assert client.over("serve").startswith("host1: the launcher serves")
    assert client.over("list").startswith("HOST ")
    assert not network.ssh_hosts[1].processes()


def test_connections_are_listed_and_closed(five: SshNetwork) -> None:
    """[R7] [R15]"""
    client = Client(five)
    client.over("list")
    client.over("list")
    rows = client.launch("connections").stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == NAMES
    assert [one["how"] for one in json.loads(client.launch("connections", "--json").stdout)] == ["forward"] * 5
    assert client.launch("connections", "--close").stdout == "".join(f"{name}: closed\n" for name in NAMES)
    assert (five.masters(), connections()) == ([], [])
    assert client.launch("connections", "--json").stdout == "[]\n"


def test_hosts_come_from_the_variable_a_file_and_groups(five: SshNetwork, tmp_path: Path) -> None:
    """[R8]"""
    client = Client(five)
    done = client.launch("list", env={"LAUNCH_HOSTS": "host[1-2]"})
    assert done.stdout.startswith("HOST ")
    assert client.launch("version", env={"LAUNCH_HOSTS": "host[1-2]"}).stdout.startswith("launch ")
    assert "no launcher" in client.launch("list", status=3, env={"LAUNCH_HOSTS": ""}).stderr
    assert client.launch("-H", "host3", "status", env={"LAUNCH_HOSTS": "host[1-2]"}).stdout.startswith("host3:\n")
    file = tmp_path / "hosts"
    file.write_text("host2\nhost1 # the first\n")
    lines = client.launch("-H", f"^{file}", "status", "--json").stdout.splitlines()
    assert {json.loads(line)["host"] for line in lines} == {"host1", "host2"}
    (tmp_path / "clustershell").mkdir()
    (tmp_path / "clustershell" / "groups.conf").write_text("[Main]\ndefault: ours\nautodir: $CFGDIR/groups.d\n")
    (tmp_path / "clustershell" / "groups.d").mkdir()
    (tmp_path / "clustershell" / "groups.d" / "ours.yaml").write_text(
        "ours:\n  odd: 'host[1,3,5]'\n  all: '@odd,host2'\n"
    )
    groups = {"XDG_CONFIG_HOME": str(tmp_path), "CLUSTERSHELL_CFGDIR": str(tmp_path / "clustershell")}
    said = client.launch("-H", "@all!host5", "signal", "HUP", "x", status=1, env=groups).stderr
    assert said.startswith("launch: host[1-3]: ")
    assert "nowhere" in client.launch("-H", "@nowhere", "list", status=2, env=groups).stderr


def test_events_of_all_hosts_are_one_stream(network: SshNetwork) -> None:
    """[R9]"""
    client = Client(network)
    client.over("submit", "-l", "p1", "--", "true")
    client.over("wait", "p1")
    kinds = [line.split()[2:5] for line in client.over("events", "p1").splitlines()]
    for name in NAMES:
        assert [kind for host, _, kind in kinds if host == name] == ["job.submitted", "job.started", "job.exited"]
    lines = [json.loads(line) for line in client.over("events", "-n", "1", "--json").splitlines()]
    assert {line["host"]: line["result"]["type"] for line in lines} == dict.fromkeys(NAMES, "io.relaunch.job.exited")
    assert "sequence" in client.over("events", "--since", "5", status=2)
    with client.popen("-H", client.hosts, "events", "-f", "-n", "1") as following:
        assert following.stdout is not None
        first = {following.stdout.readline().split()[2] for _ in NAMES}
        assert first == set(NAMES)
        network.ssh_hosts[3].launch("submit", "-l", "p2", "--", "true")
        assert following.stdout.readline().split()[2:6] == ["host4", "5", "job.submitted", "p2"]
        following.send_signal(signal.SIGINT)
        assert following.wait() == -signal.SIGINT
    wait_for(lambda: not [pid for host in network.ssh_hosts for pid in host.bridges()], what="no bridge left")


@pytest.mark.parametrize(
    ("line", "part"),
    [
        (["-H", "", "list"], "names no host"),
        (["-H", "n[1-", "list"], "bracket"),
        (["-H", "^/no/file", "list"], "cannot be read"),
        (["-H"], "needs HOSTS"),
        (["-H", "--json", "list"], "needs HOSTS"),
        (["-H", "h"], "a command is missing"),
        (["-H", "h", "frobnicate"], "there is no command"),
        (["-H", "h", "--frob", "list"], "there is no option '--frob'"),
        (["--fanout", "0", "-H", "h", "list"], "--fanout"),
        (["--fanout", "x", "-H", "h", "list"], "--fanout"),
        (["--timeout", "-1", "-H", "h", "list"], "--timeout"),
        (["--timeout=0", "-H", "h", "list"], "--timeout"),
        (["--fanout", "3", "list"], "means nothing without -H"),
        (["-H", "h", "--timeout", "3", "subscribe"], "--timeout means nothing before subscribe"),
        *((["-H", "h", name], "not for hosts") for name in ("version", "bridge", "connections")),
        (["-H", "h", "completion", "bash"], "not for hosts"),
        (["-H", "h;id", "list"], "';' cannot be in a host's name"),
        (["-H", "-oProxyCommand=id", "list"], "-H"),
        (["-H=-oProxyCommand=id", "list"], "does not begin with '-'"),
        (["-Hh,$(id)", "list"], "cannot be in a host's name"),
        (["-H", "h", "stop"], "PATTERN"),
    ],
)
def test_bad_input_is_one_line(line: list[str], part: str, tmp_path: Path) -> None:
    """[R4] [R8]"""
    import subprocess

    from tests.system.launcher_host import LAUNCH

    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    ssh.chmod(0o755)
    done = subprocess.run(
        [LAUNCH, *line],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert part in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "ran").exists()


def test_help_is_told_without_any_host() -> None:
    """[R8]"""
    from relaunch.cli.over import take_hosts

    for line in (["-H", "h", "list", "--help"], ["-H", "h", "--help"], ["--help"], ["--version"]):
        over, rest = take_hosts(line)
        assert over is None
        assert rest == [word for word in line if word not in ("-H", "h")]
