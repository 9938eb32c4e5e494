"""Hosts with a real sshd each, and a client's ssh that knows them and nobody else.

Everything is generated and private: keys, configuration, the login's home and shell. Nothing of the machine's own ssh
is read or touched. Needs root, openssh-server and openssh-client. Knows how to make a host that is awkward in a given
way. Refuses to know what is said over ssh.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.hosts.network import SUBNET, Namespaces, Network, NetworkHost, run
from tests.system.launcher_host import LAUNCH, alive, wait_for
from tests.system.peer import call

CLIENT_ADDRESS = f"{SUBNET}.254"
SSHD = "/usr/sbin/sshd"
SYSTEM_PATH = "/usr/bin:/bin"
_SLOW_SHELL = """#!/bin/sh
echo 'Welcome to a slow host. {{"relaunch": "is not here"}}'
sleep {slow_s}
exec /bin/sh "$@"
"""


@dataclass(frozen=True)
class Sshd:
    """How a host's sshd and login are; as they should be, unless told otherwise.

    Attributes:
        port: Where it listens.
        forwards: Whether sockets may be forwarded.
        slow_s: How long the login shell takes before it does anything; it prints a banner first.
        installed: Whether ``launch`` is on the login's PATH.
        launch: A script that is there in its place.
        options: Further lines of its configuration.
        env: ``NAME=VALUE`` for the login's environment.
        user: Name, number and home of another user, who has runtime and state directories there.
    """

    port: int = 22
    forwards: bool = True
    slow_s: float = 0.0
    installed: bool = True
    launch: str = ""
    options: tuple[str, ...] = ()
    env: str = ""
    user: tuple[str, int, str] | None = None


class SshHost(NetworkHost):
    """A host that can be logged in to, as root, with a key."""

    def __init__(self, switch: Namespaces, number: int, user_key: Path, sshd: Sshd) -> None:
        super().__init__(switch, number)
        self.sshd = sshd
        self.user_key = user_key
        self._listener: subprocess.Popen[bytes] | None = None
        make_key(self.place / "host_key")
        self._make_login()
        self.start_sshd()

    def _make_login(self) -> None:
        shell = "/bin/sh"
        if self.sshd.slow_s:
            shell = f"{self.place}/shell"
            Path(shell).write_text(_SLOW_SHELL.format(slow_s=self.sshd.slow_s))
            Path(shell).chmod(0o755)
        (self.place / "home").mkdir()
        if self.sshd.launch:
            (self.place / "bin").mkdir()
            (self.place / "bin" / "launch").write_text(f"#!/bin/sh\n{self.sshd.launch}\n")
            (self.place / "bin" / "launch").chmod(0o755)
        nobody = "nobody:x:65534:65534::/nonexistent:/bin/false\nsshd:x:100:65534::/run/sshd:/bin/false\n"
        other, others = "", ""
        if self.sshd.user:
            name, number, home = self.sshd.user
            other, others = f"{name}:x:{number}:{number}::{home}:/bin/sh\n", f"{name}:*:19000:0:99999:7:::\n"
        (self.place / "passwd").write_text(f"root:x:0:0:root:{self.place}/home:{shell}\n{other}{nobody}")
        (self.place / "shadow").write_text(f"root:*:19000:0:99999:7:::\n{others}")
        commands = ["mount -t tmpfs none /run", "mkdir -m 0755 /run/sshd"]
        commands += [f"mount --bind {self.place}/{name} /etc/{name}" for name in ("passwd", "shadow")]
        self._namespaces.run("sh", "-ec", "\n".join(commands))

    def _configuration(self) -> str:
        launch = self.place / "bin" if self.sshd.launch else LAUNCH.parent
        path = f"{launch}:{SYSTEM_PATH}" if self.sshd.installed else SYSTEM_PATH
        places = {name: self.env[name] for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME")}
        lines = [
            f"Port {self.sshd.port}",
            f"ListenAddress {self.address}",
            f"HostKey {self.place}/host_key",
            f"AuthorizedKeysFile {self.user_key}.pub",
            "StrictModes no",
            "UsePAM no",
            "PermitRootLogin yes",
            "PidFile none",
            "PrintMotd no",
            f"AllowStreamLocalForwarding {'yes' if self.sshd.forwards else 'no'}",
            "SetEnv "
            + " ".join(f"{name}={value}" for name, value in {"PATH": path, **places}.items())
            + f" {self.sshd.env}",
            *self.sshd.options,
            # Of a matter, sshd takes the first it reads. Connections to many hosts make do with so few to each.
            "MaxStartups 10",
        ]
        if self.sshd.user:
            name, _, home = self.sshd.user
            lines += [
                f"Match User {name}",
                f"SetEnv PATH={path} XDG_RUNTIME_DIR={home}/run XDG_STATE_HOME={home}/state",
            ]
        return "\n".join(lines) + "\n"

    def start_sshd(self) -> None:
        """Start it; returns once it listens."""
        config, log = self.place / "sshd_config", self.place / "sshd.log"
        config.write_text(self._configuration())
        log.unlink(missing_ok=True)
        command = [*self.enter, SSHD, "-D", "-f", str(config), "-E", str(log)]
        self._listener = subprocess.Popen(command, stdin=subprocess.DEVNULL, env={"PATH": SYSTEM_PATH})
        wait_for(lambda: log.exists() and "Server listening" in log.read_text(), what=f"the sshd of {self.name}")

    def kill_sshd(self) -> None:
        """Kill it with all its sessions; what those have started is left to find out."""
        pids = self.sshd_pids()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._listener is not None:
            self._listener.wait()
        wait_for(lambda: not any(map(alive, pids)), what="the end of sshd")

    def renew(self) -> None:
        """Have a launcher without a history serve; fails where something of the last one is left."""
        self.stop()
        for name in ("run", "state"):
            shutil.rmtree(self.place / name, ignore_errors=True)
        self.serve()

    def sshd_pids(self) -> list[int]:
        """The one that listens, and one or two for each session."""
        return [pid for pid in self._inside() if _command(pid).startswith("sshd: ") or SSHD in _command(pid)]

    def bridges(self) -> list[int]:
        """Every ``launch bridge`` that runs there."""
        return [pid for pid in self._inside() if _command(pid).rstrip().endswith("launch bridge")]

    def _inside(self) -> list[int]:
        mine = os.readlink(f"/proc/{self._namespaces.pid}/ns/net")
        found = []
        for entry in filter(str.isdecimal, os.listdir("/proc")):
            with suppress(OSError):
                if os.readlink(f"/proc/{entry}/ns/net") == mine:
                    found.append(int(entry))
        return found

    def tidy(self) -> bool:
        """See ``Host``; what jobs a test had is forgotten too, and sshd serves."""
        if self._listener is None or self._listener.poll() is not None:
            self.start_sshd()
        if not super().tidy():
            return False
        os.truncate(self.place / "sshd.log", 0)
        call(self.socket, "Unload", {"patterns": ["*"]})
        return True

    def end(self) -> None:
        """End what serves there, prove that nothing is left, take the host away."""
        try:
            super().end()
        finally:
            if self._listener is not None:
                self._end_sshd(self._listener)

    def _end_sshd(self, listener: subprocess.Popen[bytes]) -> None:
        # The namespaces' holder is gone by now; its sessions are the listener's children.
        for pid in [listener.pid, *_descendants(listener.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        listener.wait()


class SshNetwork(Network):
    """Hosts with sshd on one bridge, and a place for a client whose ssh reaches them.

    Args:
        *sshds: One for each host.

    Attributes:
        ssh_hosts: The hosts; ``hosts`` are the same ones.
        client: A directory of the client's own.
        env: What the client's environment has to have: PATH with the ssh in it, and a runtime directory.
    """

    def __init__(self, *sshds: Sshd) -> None:
        super().__init__(0)
        self.ssh_hosts: list[SshHost] = []
        self.client = Path(tempfile.mkdtemp(prefix="rl-", dir="/tmp"))
        try:
            self._switch.run("ip", "address", "add", f"{CLIENT_ADDRESS}/24", "dev", "bridge")
            self.user_key = make_key(self.client / "user_key")
            self._make_client()
            with ThreadPoolExecutor() as threads:
                made = [
                    threads.submit(SshHost, self._switch, number, self.user_key, sshd)
                    for number, sshd in enumerate(sshds, 1)
                ]
            self.ssh_hosts += [one.result() for one in made]
            self.hosts += self.ssh_hosts
            self.write_config()
        except BaseException:
            self.close()
            raise

    def _make_client(self) -> None:
        ssh = self.client / "bin" / "ssh"
        ssh.parent.mkdir()
        enter = f"nsenter -t {self._switch.pid} --net"
        # What it was given last comes last, as with an ssh that reads a configuration of its own.
        ssh.write_text(f'#!/bin/sh\necho x >>{self.client}/runs\nexec {enter} /usr/bin/ssh -F {self.config} "$@"\n')
        ssh.chmod(0o755)
        (self.client / "run").mkdir(mode=0o700)
        self.env = {"PATH": f"{ssh.parent}:{os.environ['PATH']}", "XDG_RUNTIME_DIR": f"{self.client}/run"}

    def serve(self) -> None:
        """Start the launcher of every host."""
        with ThreadPoolExecutor() as threads:
            for done in [threads.submit(host.serve) for host in self.ssh_hosts]:
                done.result()

    @property
    def config(self) -> Path:
        """The client's ssh_config."""
        return self.client / "config"

    @property
    def directory(self) -> Path:
        """Where the client's control sockets are."""
        return self.client / "run" / "relaunch" / "ssh"

    @property
    def enter(self) -> list[str]:
        """What stands before a command that is to be on the client's own network, as its ssh is."""
        return self._switch.enter

    def ssh_runs(self) -> int:
        """How often the client has started ssh."""
        runs = self.client / "runs"
        return len(runs.read_text().splitlines()) if runs.exists() else 0

    def mend(self) -> None:
        """Make it fit for another test: nothing that a test did is left, save history and new boots.

        Fails where a launcher that was harmed leaves something behind.
        """
        for host in self.ssh_hosts:
            host.heal()
        for pid in self.masters():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.masters(), what="the end of every ssh")
        (self.client / "runs").unlink(missing_ok=True)
        shutil.rmtree(self.client / "run")
        (self.client / "run").mkdir(mode=0o700)
        self.write_config()
        with ThreadPoolExecutor() as threads:
            well = list(threads.map(SshHost.tidy, self.ssh_hosts))
            list(
                threads.map(
                    SshHost.renew, (host for host, is_well in zip(self.ssh_hosts, well, strict=True) if not is_well)
                )
            )

    def write_config(self, *lines: str) -> None:
        """Write the client's configuration, these lines first: of a matter, ssh takes the first it reads."""
        known, blocks = [], []
        for host in self.ssh_hosts:
            kind, key, *_ = (host.place / "host_key.pub").read_text().split()
            known.append(f"{host.name} {kind} {key}\n")
            blocks.append(
                f"Host {host.name}\n HostName {host.address}\n Port {host.sshd.port}\n HostKeyAlias {host.name}\n"
            )
        (self.client / "known_hosts").write_text("".join(known))
        everybody = [
            f" IdentityFile {self.user_key}",
            " IdentitiesOnly yes",
            f" UserKnownHostsFile {self.client}/known_hosts",
            " GlobalKnownHostsFile none",
            " StrictHostKeyChecking yes",
            " User root",
        ]
        self.config.write_text("\n".join([*lines, *blocks, "Host *", *everybody]) + "\n")

    def masters(self) -> list[int]:
        """Every ssh of this client that runs now: masters, bridges, all."""
        mark = str(self.client)
        mine = filter(str.isdecimal, os.listdir("/proc"))
        return [pid for pid in map(int, mine) if _is_ssh(pid) and mark in _command(pid) and alive(pid)]

    def close(self) -> None:
        """End every host and every ssh; the first failure last."""
        try:
            super().close()
        finally:
            for pid in self.masters():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            shutil.rmtree(self.client, ignore_errors=True)


def make_key(path: Path) -> Path:
    """Generate a key without a passphrase; the public one is beside it, as ssh-keygen has it."""
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path))
    return path


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _is_ssh(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text() == "ssh\n"
    return False


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            found += [child, *_descendants(child)]
    return found
