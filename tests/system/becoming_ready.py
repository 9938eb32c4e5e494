"""Programs that become ready when a file is there, one for each way of showing it, and what is told of that."""

import socket
import sys
from pathlib import Path
from typing import Any

from tests.system.evidence import events, jobs, kinds
from tests.system.launcher_host import Host

PYTHON = [sys.executable, "-I", "-S", "-c"]
# Each program below does its part once the file is there that its first argument names.
WAIT = "import os, socket, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)\n"
LISTEN = WAIT + "s = socket.create_server(('127.0.0.1', int(sys.argv[2])))\ntime.sleep(300)"
SAY = WAIT + (
    "def say(text):\n"
    "    address = os.environ['NOTIFY_SOCKET']\n"
    "    address = '\\0' + address[1:] if address[0] == '@' else address\n"
    "    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(text, address)\n"
)
TELL = SAY + "say(b'STATUS=good\\nREADY=1\\n')\ntime.sleep(300)"
PRINT = "while ! [ -e $0 ]; do sleep 0.01; done; echo now it is ready; exec sleep 300"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def way(name: str, go: Path) -> tuple[list[str], dict[str, Any]]:
    """A program that is ready when ``go`` is there, and how it shows that."""
    if name == "port":
        port = free_port()
        return [*PYTHON, LISTEN, str(go), str(port)], {"port": port, "interval_s": 0.1}
    if name == "command":
        return ["sleep", "300"], {"command": ["test", "-e", str(go)], "interval_s": 0.1}
    if name == "log_line":
        return ["sh", "-c", PRINT, str(go)], {"log_line": "it is [a-z]+$"}
    return [*PYTHON, TELL, str(go)], {"notify": True}


WAYS = ["port", "command", "log_line", "notify"]


def state(host: Host, label: str) -> str:
    return str(jobs(host)[label]["state"])


def told(host: Host, label: str) -> list[str]:
    """The kinds of this label's events since its last submit."""
    found = kinds(events(host, label))
    return found[len(found) - 1 - found[::-1].index("job.submitted") :]
