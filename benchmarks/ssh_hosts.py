"""Many hosts on one machine, for benchmarks: an sshd on a loopback address each, and a launcher with some jobs.

They share everything but their runtime and state directories. Keys and configuration are made for it; nothing of the
machine's own ssh is read or touched.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL

from launcher import LAUNCH, Environment

import relaunch

SSHD = "/usr/sbin/sshd"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
LISTENING_S = 20.0


@dataclass(frozen=True)
class Hosts:
    """The hosts, and what their client's environment has to have.

    Attributes:
        names: As the client's ssh knows them.
        addresses: Where their sshd listens.
        port: On which port, each of them.
        key: The client's private key.
        environment: PATH begins with the ssh that knows these hosts and nobody else.
    """

    names: list[str]
    addresses: list[str]
    port: int
    key: Path
    environment: Environment


@contextlib.contextmanager
def ssh_hosts(count: int, jobs: int) -> Iterator[Hosts]:
    """So many hosts with so many jobs each, ended and removed afterwards."""
    place = Path(tempfile.mkdtemp(prefix="rl-", dir=os.environ.get("BENCHMARK_DIRECTORY", "/var/tmp")))
    started: list[subprocess.Popen[bytes]] = []
    addresses, port = [f"127.0.1.{number}" for number in range(1, count + 1)], _free_port()
    places = [place / str(number) for number in range(1, count + 1)]
    try:
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        for name in ("host_key", "user_key"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", f"{place}/{name}")
        for address, own in zip(addresses, places, strict=True):
            own.mkdir()
            started.append(_start_sshd(place, f"{address}:{port}", own))
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda own: _serve(own, jobs), places))
        _await_sshd(addresses, place)
        hosts = _client(place, addresses, port)
        try:
            yield hosts
        finally:
            subprocess.run([LAUNCH, "connections", "--close"], env=hosts.environment, check=True, stdout=DEVNULL)
    finally:
        serving = [own for own in places if (own / "run").exists()]
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda own: _launch(own, "shutdown", check=False), serving))
        for sshd in started:
            _end(sshd)
        shutil.rmtree(place, ignore_errors=True)


def _start_sshd(place: Path, address: str, own: Path) -> subprocess.Popen[bytes]:
    # A home of its own, so that what the user's own shell does at each login is not measured.
    settings = {"PATH": f"{LAUNCH.parent}:{SYSTEM_PATH}", "HOME": str(own), **_places(own)}
    lines = [
        f"ListenAddress {address}",
        f"HostKey {place}/host_key",
        f"AuthorizedKeysFile {place}/user_key.pub",
        "StrictModes no",
        "UsePAM no",
        "PermitRootLogin yes",
        "PidFile none",
        "PrintMotd no",
        "SetEnv " + " ".join(f"{name}={value}" for name, value in settings.items()),
    ]
    (own / "sshd_config").write_text("\n".join(lines) + "\n")
    return subprocess.Popen(
        [SSHD, "-D", "-f", own / "sshd_config", "-E", own / "sshd.log"],
        stdin=DEVNULL,
        start_new_session=True,
    )


def _places(own: Path) -> Environment:
    return {"XDG_RUNTIME_DIR": f"{own}/run", "XDG_STATE_HOME": f"{own}/state"}


def _serve(own: Path, jobs: int) -> None:
    _launch(own, "serve", "--background")
    asyncio.run(_submit(f"{own}/run/relaunch/launcher.sock", jobs))


async def _submit(path: str, jobs: int) -> None:
    async with relaunch.connect(path) as there:
        await asyncio.gather(*(there.submit(f"group/p{number}", ["sleep", "100000"]) for number in range(1, jobs + 1)))


def _launch(own: Path, *words: str, check: bool = True) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([LAUNCH, *words], env=environment | _places(own), check=check, stdout=DEVNULL)


def _await_sshd(addresses: list[str], place: Path) -> None:
    """Wait until each listens, by its log: probing costs an sshd a process each time."""
    give_up_at = time.monotonic() + LISTENING_S
    for number, address in enumerate(addresses, 1):
        log = place / str(number) / "sshd.log"
        while not (log.exists() and "Server listening" in log.read_text()):
            if time.monotonic() > give_up_at:
                raise SystemExit(f"no sshd on {address}: {log.read_text() if log.exists() else 'it said nothing'}")
            time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.1.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _client(place: Path, addresses: list[str], port: int) -> Hosts:
    names = [f"h{number}" for number in range(1, len(addresses) + 1)]
    host_key = " ".join((place / "host_key.pub").read_text().split()[:2])
    (place / "known_hosts").write_text(f"bench {host_key}\n")
    blocks = [f"Host {name}\n HostName {address}\n" for name, address in zip(names, addresses, strict=True)]
    everybody = [
        "Host *",
        f" Port {port}",
        " HostKeyAlias bench",
        f" IdentityFile {place}/user_key",
        " IdentitiesOnly yes",
        f" UserKnownHostsFile {place}/known_hosts",
        " GlobalKnownHostsFile none",
        " StrictHostKeyChecking yes",
        " LogLevel ERROR",
    ]
    (place / "config").write_text("".join(blocks) + "\n".join(everybody) + "\n")
    (place / "bin").mkdir()
    # Every program here finds the same ssh.
    (place / "bin" / "ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {place}/config "$@"\n')
    (place / "bin" / "ssh").chmod(0o755)
    (place / "run").mkdir(mode=0o700)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PATH": f"{place}/bin:{os.environ['PATH']}", "XDG_RUNTIME_DIR": f"{place}/run"}
    return Hosts(names, addresses, port, place / "user_key", environment)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=DEVNULL)


def _end(sshd: subprocess.Popen[bytes]) -> None:
    """End an sshd with its sessions."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(sshd.pid, signal.SIGTERM)
    sshd.wait()
