"""Hosts of their own on this machine, made of Linux namespaces joined by a bridge.

Each has a network, a host name and a boot id of its own, and shares the file system. Needs root, iproute2 and nftables.
Knows how to make a host, cut it off, have it lose packets, and let it vanish. Refuses to know what runs there.
"""

import os
import signal
import subprocess
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.system.launcher_host import Host, wait_for

SUBNET, SUBNET6 = "10.77.0", "fd77::"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
# The holder of a set of namespaces says so when they are there, and keeps them until it is killed.
_HOLD = "echo ready; exec sleep infinity"


def run(*command: str) -> str:
    """Run a command to its end; fails with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}"
    return done.stdout


class Namespaces:
    """A process that holds namespaces of its own.

    Args:
        kinds: Options of unshare(1).
    """

    def __init__(self, *kinds: str) -> None:
        self._holder = subprocess.Popen(
            ["unshare", *kinds, "sh", "-c", _HOLD], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n", "no namespaces; are you root?"
        pid = str(self._holder.pid)
        self.pid = self._holder.pid
        self.enter = ["nsenter", "-t", pid, *(kind for kind in kinds if kind.startswith("--"))]

    def run(self, *command: str) -> str:
        """Run a command in there to its end."""
        return run(*self.enter, *command)

    def close(self) -> None:
        """Let them go; they end with the last process in them."""
        self._holder.kill()
        with self._holder:
            pass


class NetworkHost(Host):
    """A host on the network, and the launcher that may serve there.

    Attributes:
        address: Its IPv4 address.
        address6: Its IPv6 address.
    """

    def __init__(self, switch: Namespaces, number: int) -> None:
        super().__init__()
        self._namespaces = Namespaces("--net", "--mount", "--uts")
        self._port = f"port{number}"
        self.name = f"host{number}"
        self._ruled = False
        self.address, self.address6 = f"{SUBNET}.{number}", f"{SUBNET6}{number}"
        self.enter = self._namespaces.enter
        self._namespaces.run("hostname", self.name)
        self.boot()
        peer = f"peer name eth0 netns {self._namespaces.pid}"
        switch.run("ip", "link", "add", self._port, "type", "veth", *peer.split())
        switch.run("ip", "link", "set", self._port, "master", "bridge", "up")
        for command in (
            "link set lo up",
            f"address add {self.address}/24 dev eth0",
            f"address add {self.address6}/64 dev eth0 nodad",
            "link set eth0 up",
        ):
            self._namespaces.run("ip", *command.split())

    @property
    def state(self) -> Path:
        """The launcher's state directory."""
        return self.place / "state" / "relaunch" / self.name

    def boot(self) -> None:
        """Give it another boot id, as after it has been started anew."""
        file = self.place / "boot_id"
        file.write_text(f"{uuid.uuid4()}\n")
        with suppress(AssertionError):
            self._namespaces.run("umount", _BOOT_ID)
        self._namespaces.run("mount", "--bind", str(file), _BOOT_ID)

    def lose(self, percent: int) -> None:
        """Lose so many of the packets that arrive there; 0 heals it, 100 cuts it off."""
        self._rules("input", percent)

    def wall(self) -> None:
        """Let no datagram out."""
        self._rules("output", 100, "meta l4proto udp")

    def cut(self) -> None:
        """Cut it off, both ways, without a sign to anybody."""
        self._rules("input", 100)
        self._rules("output", 100)

    def heal(self) -> None:
        """Let every packet through."""
        if self._ruled:
            self._rules("input", 0)
            self._rules("output", 0)
            self._ruled = False

    def _rules(self, hook: str, percent: int, which: str = "") -> None:
        self._ruled = True
        interface = {"input": "iifname", "output": "oifname"}[hook]
        chance = "" if percent >= 100 else f"numgen random mod 100 < {percent}"
        chain = f"type filter hook {hook} priority 0\n{interface} != lo {which} {chance} drop" if percent else ""
        table = f"inet {hook}_loss"
        rules = f"table {table} {{}}\ndelete table {table}\ntable {table} {{\nchain loss {{\n{chain}\n}}\n}}\n"
        with tempfile.NamedTemporaryFile("w", suffix=".nft") as file:
            file.write(rules)
            file.flush()
            self._namespaces.run("nft", "-f", file.name)

    def vanish(self) -> None:
        """Kill everything in it at once, and its network."""
        self.cut()
        # Stopped first: nobody there may notice the end of another.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        wait_for(self.ended, what="a host that was killed")

    def end(self) -> None:
        """End what serves there, prove that nothing is left, take the host away."""
        try:
            super().end()
        finally:
            self._namespaces.close()


class Network:
    """A bridge, and hosts on it.

    Args:
        count: How many hosts.
    """

    def __init__(self, count: int) -> None:
        self._switch = Namespaces("--net")
        self.hosts: list[NetworkHost] = []
        try:
            self._switch.run("ip", "link", "add", "bridge", "type", "bridge")
            self._switch.run("ip", "link", "set", "bridge", "up")
            for number in range(1, count + 1):
                self.hosts.append(NetworkHost(self._switch, number))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every host, the first failure last."""
        try:
            while self.hosts:
                self.hosts.pop().end()
        finally:
            if self.hosts:
                self.close()
            self._switch.close()
