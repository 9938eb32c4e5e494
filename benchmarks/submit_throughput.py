"""How many jobs a second go up, journaled and running, against a bare `subprocess.Popen` loop of the same argv.

Each round measures, in turn, the bare loop, `Submit` pipelined over one connection, and `Submit` one by one. The bounds
are on the ratio of the medians of jobs a second.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from itertools import count

from launcher import Environment, launcher, median, p99, table

from relaunch.core.varlink import Decoder, encode

JOBS = 1_000
ROUNDS = 3
ARGV = ["sleep", "1000"]
PIPELINED_BOUND = 0.8
SINGLE_BOUND = 0.6
_numbers = count()


def bare() -> list[float]:
    """Seconds for each start of a bare loop."""
    children, starts = [], []
    for _ in range(JOBS):
        begin = time.perf_counter()
        children.append(subprocess.Popen(ARGV))
        starts.append(time.perf_counter() - begin)
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
    for child in children:
        child.wait()
    return starts


class Client:
    """One connection that submits."""

    def __init__(self, environment: Environment) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(f"{environment['XDG_RUNTIME_DIR']}/relaunch/launcher.sock")
        self._decoder = Decoder()

    def pipelined(self) -> list[float]:
        """Seconds from the first call to each reply."""
        at: list[float] = []
        begin = time.perf_counter()
        self._socket.sendall(b"".join(_submit() for _ in range(JOBS)))
        while len(at) < JOBS:
            for reply in self._read():
                _check(reply)
                at.append(time.perf_counter() - begin)
        return at

    def single(self) -> list[float]:
        """Seconds for each call and its reply."""
        took = []
        for _ in range(JOBS):
            begin = time.perf_counter()
            self._socket.sendall(_submit())
            (reply,) = self._read()
            _check(reply)
            took.append(time.perf_counter() - begin)
        return took

    def stop_all(self) -> None:
        """Kill every job and wait for it."""
        call = {"method": "io.relaunch.Launcher.Stop", "parameters": {"patterns": ["bench/*"], "signal": "KILL"}}
        self._socket.sendall(encode(call))
        while not self._read():
            pass

    def _read(self) -> list[dict[str, object]]:
        messages: list[dict[str, object]] = []
        while not messages:
            messages = self._decoder.feed(self._socket.recv(1 << 20))
        return messages


def _submit() -> bytes:
    spec = {"label": f"bench/{next(_numbers)}", "argv": ARGV}
    return encode({"method": "io.relaunch.Launcher.Submit", "parameters": {"spec": spec}})


def _check(reply: dict[str, object]) -> None:
    if "error" in reply:
        raise SystemExit(f"a submit was refused: {reply}")


def main() -> int:
    """Measure and print; the exit status says whether both bounds hold."""
    starts: dict[str, list[float]] = {"bare": [], "pipelined": [], "one by one": []}
    rates: dict[str, list[float]] = {name: [] for name in starts}
    with launcher() as environment:
        client = Client(environment)
        for _ in range(ROUNDS):
            took = bare()
            starts["bare"] += took
            rates["bare"].append(JOBS / sum(took))
            at = client.pipelined()
            starts["pipelined"] += [after - before for before, after in zip([0.0, *at], at, strict=False)]
            rates["pipelined"].append(JOBS / at[-1])
            client.stop_all()
            took = client.single()
            starts["one by one"] += took
            rates["one by one"].append(JOBS / sum(took))
            client.stop_all()
    floor = median(rates["bare"])
    bounds = {"bare": 0.0, "pipelined": PIPELINED_BOUND, "one by one": SINGLE_BOUND}
    rows, fine = [], True
    for name, values in rates.items():
        ratio = median(values) / floor
        fine &= ratio >= bounds[name]
        took = [second * 1000 for second in starts[name]]
        bound = f">= {bounds[name]}" if bounds[name] else "floor"
        rows.append([name, f"{median(values):.0f}", f"{median(took):.2f}", f"{p99(took):.2f}", f"{ratio:.2f}", bound])
    header = ["", "jobs/s", "median ms", "p99 ms", "ratio", "bound"]
    table(f"{JOBS} jobs of {' '.join(ARGV)}, {ROUNDS} rounds", header, rows)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
