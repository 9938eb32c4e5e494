"""``launch -H HOSTS submit --wait-ready``: each host is told of when its job is ready, or why it is not."""

import json
import signal

from tests.hosts.commanding import Client
from tests.hosts.sshd import SshNetwork
from tests.system.launcher_host import wait_for


def test_jobs_on_many_hosts_are_waited_for(five: SshNetwork) -> None:
    """[S36] [R8] [R10] [R11] Words of the command line stand for something in what tells that a job is ready."""
    client = Client(five)
    script = "echo on {host}; exec sleep 300"
    line = ["submit", "-l", "ready", "--ready-log", "^on {host}$", "--wait-ready"]
    assert client.over(*line, "--", "sh", "-c", script) == "host[1-5]: ready: ready\n"
    told = client.over("submit", "-l", "some", "--ready-command", "test {index} -gt 2", "--ready-timeout", "0.5",
                       "--wait-ready", "--", "sleep", "300", status=4)  # fmt: skip
    assert "host[3-5]: some: ready\n" in told
    assert "launch: host[1-2]: some is not ready: running\n" in told
    ending = ["submit", "-l", "none", "--ready-notify", "--wait-ready", "--json", "--", "sh", "-c", "exit {index}"]
    done = client.launch("-H", client.hosts, *ending, status=1)
    names = {json.loads(line)["error"]["name"] for line in done.stdout.splitlines()}
    assert names == {"io.relaunch.Launcher.NotReady"}


def test_a_signal_leaves_the_jobs_and_says_so(five: SshNetwork) -> None:
    """[S36] [R15] What was asked for has been done; that it is ready is not known."""
    client = Client(five, "host[1-2]")
    line = ["submit", "-l", "never", "--ready-command", "false", "--wait-ready", "--", "sleep", "300"]
    with client.popen("-H", client.hosts, *line) as submitting:
        hosts = five.ssh_hosts[:2]
        wait_for(lambda: all("never" in host.jobs() for host in hosts), what="both are up")
        submitting.send_signal(signal.SIGINT)
        said = submitting.communicate(timeout=30)[1]
    assert submitting.returncode in (-signal.SIGINT, 130)
    assert "interrupted after it was done" in said
    assert all(host.job("never")["state"] == "running" for host in hosts)
