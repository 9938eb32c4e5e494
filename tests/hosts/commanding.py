"""Commands over the hosts of a network, typed at its client.

Knows how to run ``launch`` as a whole process there. Refuses to know what any command says.
"""

import json
import os
import subprocess
from typing import Any

from tests.hosts.sshd import SshNetwork
from tests.system.launcher_host import LAUNCH

COMMAND_S = 45.0


class Client:
    """Whoever types at the client of a network.

    Args:
        network: The hosts.
        hosts: What ``-H`` is given by ``over``.
    """

    def __init__(self, network: SshNetwork, hosts: str = "host[1-5]") -> None:
        self.hosts = hosts
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "LAUNCH_"))}
        self.env = mine | network.env

    def launch(
        self, *args: str, status: int = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``launch`` to its end; fails the test, and shows what it said, where its exit status is another."""
        done = subprocess.run(
            [LAUNCH, *args],
            env=self.env | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        assert done.returncode == status, f"{args}: {done.returncode}, not {status}: {done.stdout}{done.stderr}"
        return done

    def over(self, *args: str, status: int = 0) -> str:
        """What a command over all hosts says: standard output, then errors."""
        done = self.launch("-H", self.hosts, *args, status=status)
        return done.stdout + done.stderr

    def answers(self, *args: str, status: int = 0) -> dict[str, dict[str, Any]]:
        """Each host's answer to a command with ``--json``."""
        lines = self.launch("-H", self.hosts, *args, "--json", status=status).stdout.splitlines()
        return {answer["host"]: answer for answer in map(json.loads, lines)}

    def popen(self, *args: str, **options: Any) -> subprocess.Popen[str]:
        """Start ``launch`` and go on; its output is piped."""
        settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([str(LAUNCH), *args], **(settings | {"env": self.env} | options))
