"""The client's own place on a network of hosts, and a ``launch subscribe`` that runs there.

Knows how to start it where the hosts can reach it, and what it says. Refuses to know what the hosts do.
"""

from tests.hosts.sshd import CLIENT_ADDRESS, SshHost, SshNetwork
from tests.system.launcher_host import Host, wait_for
from tests.system.told import Told

MODES = {"serve": ("--serve", "-a", ":0"), "serve over tcp": ("--serve", "-a", ":0", "-n", "tcp"), "follow": ()}
JOB_ENDS = ("--kind", "job.exited")


class Here(Host):
    """The place beside the bridge: every host sees it as ``CLIENT_ADDRESS``."""

    def __init__(self, network: SshNetwork) -> None:
        super().__init__()
        self.enter = ["nsenter", "-t", str(network._switch.pid), "--net"]
        self.env |= network.env

    def subscribe(self, network: SshNetwork, *options: str) -> "Hearing":
        """Subscribe to all hosts; returns once it says what it does."""
        hosts = [option for host in network.ssh_hosts for option in ("-H", host.name)]
        return Hearing(self, *options, *hosts).begun()


class Hearing(Told):
    """A ``launch subscribe --json`` that runs."""

    def begun(self) -> "Hearing":
        """Wait until it says what it does."""
        wait_for(lambda: self.first or self.process.poll() is not None, what="the subscriber")
        assert self.process.poll() is None, self.said
        return self

    @property
    def first(self) -> str:
        """What it says that it does."""
        return next((line for line in self.said if ": listening at " in line or ": following the " in line), "")

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.first.split(" (")[0].rpartition(":")[2])

    @property
    def address(self) -> str:
        """Where hosts see it."""
        return f"{CLIENT_ADDRESS}:{self.port}"

    def says(self, text: str, timeout_s: float = 20.0) -> str:
        """Wait for a line that holds a text."""
        return wait_for(
            lambda: next((line for line in self.said if text in line), ""), timeout_s, f"{text!r} in {self.said}"
        )

    def from_host(self, kind: str, host: SshHost) -> list[dict[str, object]]:
        """What a host has told of a kind."""
        return [event for event in self.of(kind) if event["source"] == f"//{host.name}/relaunch/0"]

    def ends_of(self, *labels: str) -> set[tuple[str, str]]:
        """Whose ends have been told, by host; none twice."""
        told = [(str(event["source"])[2:].partition("/")[0], str(event["subject"])) for event in self.of("job.exited")]
        assert len(told) == len(set(told)), told
        return {one for one in told if not labels or one[1] in labels}


def fail(host: SshHost, label: str) -> None:
    """Have a job of a host end by itself."""
    host.launch("run", "-l", label, "--", "sh", "-c", "exit 3", check=False)


def subscribers(host: SshHost) -> list[dict[str, object]]:
    """To whom a host's launcher delivers."""
    found: list[dict[str, object]] = host.status()["subscribers"]
    return found
