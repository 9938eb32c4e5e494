"""What is it to ask 32 hosts over ssh for their jobs: `launch -H` beside pdsh, clush, pssh, xargs and parallel-ssh.

Each host has an sshd and a launcher of its own with 8 jobs; each program has every host run, or answer, `launch list`.
Cold: nothing is connected before. Warm: what a program keeps between two of its runs is there; only `launch` and, in
one process, the library parallel-ssh keep anything. Every round has each of them once, in turn. A peer that is not
installed is named and not measured.
"""

import contextlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

from launcher import LAUNCH, median, p99, table
from ssh_hosts import Hosts, ssh_hosts

HOSTS, JOBS = 32, 8
ROUNDS = int(os.environ.get("BENCHMARK_ROUNDS", "7"))
# Those that take long are measured once in a round, the others so often.
QUICK_TIMES = 5
# What came before has ended by then: each connection's end costs its sshd something too.
CALM_S = 0.5
WARM_BOUND_OF_LIBRARY = 0.6
WARM_BOUND_OF_PDSH = 0.25
COLD_BOUND_OF_XARGS = 1.05
Ways = dict[str, Callable[[], float]]
WARM, COLD, XARGS, PDSH, LIBRARY = (
    "launch -H, warm",
    "launch -H, cold",
    "xargs -P32 ssh",
    "pdsh",
    "parallel-ssh library",
)


def peers(hosts: Hosts) -> dict[str, list[str]]:
    """Command lines; the first word of each that is no interpreter is what must be installed."""
    names, fanout = ",".join(hosts.names), str(HOSTS)
    one_each = shlex.join(["printf", "%s\\n", *hosts.names])
    machines = [word for name in hosts.names for word in ("-H", name)]
    return {
        XARGS: ["sh", "-c", f"{one_each} | xargs -P{fanout} -I@ ssh -oBatchMode=yes @ launch list"],
        PDSH: ["pdsh", "-R", "ssh", "-f", fanout, "-w", names, "launch list"],
        "clush": ["clush", "-f", fanout, "-w", names, "launch list"],
        "pssh": ["parallel-ssh", "-i", "-p", fanout, "-t", "60", *machines, "launch list"],
    }


def run(command: list[str], hosts: Hosts) -> float:
    """Seconds that a command took, which must have told of every job of every host."""
    begin = time.perf_counter()
    done = subprocess.run(command, env=hosts.environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    took = time.perf_counter() - begin
    told = done.stdout.count(b" running ")
    if done.returncode or told != HOSTS * JOBS:
        said = done.stderr.decode(errors="replace")[-2000:]
        raise SystemExit(f"{command[0]}: status {done.returncode}, {told} of {HOSTS * JOBS} jobs; {said}")
    return took


@contextlib.contextmanager
def library(hosts: Hosts) -> Iterator[Callable[[], float] | None]:
    """The library parallel-ssh in a process of its own, its connections kept."""
    if importlib.util.find_spec("pssh") is None:
        yield None
        return
    command = [sys.executable, __file__, "library", str(hosts.port), str(hosts.key), *hosts.addresses]
    with subprocess.Popen(
        command, env=hosts.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        if stdin is None or stdout is None:
            raise AssertionError

        def once() -> float:
            stdin.write("\n")
            stdin.flush()
            took, told = stdout.readline().split()
            if int(told) != HOSTS * JOBS:
                raise SystemExit(f"parallel-ssh: {told} of {HOSTS * JOBS} jobs")
            return float(took)

        once()
        yield once
        stdin.close()


def serve_library(port: int, key: str, addresses: list[str]) -> None:
    """As the library's process: for each line of input, ask all hosts, say how long that took and how much was told."""
    from pssh.clients import ParallelSSHClient

    client = ParallelSSHClient(addresses, port=port, pkey=key, pool_size=HOSTS, num_retries=1)
    for _ in sys.stdin:
        begin = time.perf_counter()
        outputs = client.run_command("launch list", use_pty=False)
        told = sum(" running " in line for output in outputs for line in output.stdout)
        print(time.perf_counter() - begin, told, flush=True)


def ours(hosts: Hosts) -> Ways:
    """Cold and warm."""
    listing = [str(LAUNCH), "-H", f"h[1-{HOSTS}]", "list"]

    def cold() -> float:
        subprocess.run([LAUNCH, "connections", "--close"], env=hosts.environment, check=True, stdout=subprocess.DEVNULL)
        time.sleep(CALM_S)
        return run(listing, hosts)

    return {COLD: cold, WARM: lambda: run(listing, hosts)}


def measure(ways: Ways) -> dict[str, list[float]]:
    """Each way in turn, round by round."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, once in ways.items():
            for _ in range(QUICK_TIMES if name in (WARM, LIBRARY) else 1):
                time.sleep(CALM_S)
                took[name].append(once())
    return took


def bounds(took: dict[str, list[float]]) -> dict[str, list[tuple[str, float, float]]]:
    """For each of ours: of whom, the ratio, and what it may be."""
    asked = {
        COLD: [(XARGS, COLD_BOUND_OF_XARGS)],
        WARM: [(LIBRARY, WARM_BOUND_OF_LIBRARY), (PDSH, WARM_BOUND_OF_PDSH)],
    }
    return {
        name: [(peer, median(took[name]) / median(took[peer]), bound) for peer, bound in wanted if peer in took]
        for name, wanted in asked.items()
        if name in took
    }


def main() -> int:
    """Measure and print; the exit status says whether the bounds hold."""
    if sys.argv[1:2] == ["library"]:
        serve_library(int(sys.argv[2]), sys.argv[3], sys.argv[4:])
        return 0
    with ssh_hosts(HOSTS, JOBS) as hosts, library(hosts) as in_process:
        installed = {name: words for name, words in peers(hosts).items() if shutil.which(words[0])}
        missing = sorted({*peers(hosts)} - {*installed}) + ([] if in_process else [LIBRARY])
        ways: Ways = {name: partial(run, words, hosts) for name, words in installed.items()}
        if in_process:
            ways[LIBRARY] = in_process
        took = measure(ways | ours(hosts))
    floor, kept = median(took[XARGS]), bounds(took)
    rows = []
    for name, seconds in took.items():
        told = ", ".join(f"{ratio:.2f} of {peer} (<= {bound})" for peer, ratio, bound in kept.get(name, ()))
        rows.append(
            [
                name,
                f"{median(seconds) * 1000:.0f}",
                f"{p99(seconds) * 1000:.0f}",
                f"{median(seconds) / floor:.2f}",
                told,
            ]
        )
    header = ["", "median ms", "p99 ms", "ratio", "bounds"]
    table(f"the {JOBS} jobs of each of {HOSTS} hosts, {ROUNDS} rounds", header, rows)
    for name in missing:
        print(f"  {name}: not installed, not measured")
    return 0 if all(ratio <= bound for wanted in kept.values() for _, ratio, bound in wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
