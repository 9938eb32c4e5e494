"""How long `launch list`, `submit` and `stop` take as whole processes, against `python -c pass` of the same Python.

Eight jobs are up. The runs are interleaved, so that a noisy machine is as noisy for each: only the ratios mean much.
The bound is on the ratio of the medians.
"""

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

RUNS = 60
JOBS = 8
BOUND = 2.2
LAUNCH = Path(sys.executable).with_name("launch")

Environment = dict[str, str]


@contextlib.contextmanager
def launcher() -> Iterator[Environment]:
    """A launcher of its own, with its jobs up."""
    place = tempfile.mkdtemp(prefix="relaunch-", dir="/tmp")
    environment = os.environ | {"XDG_RUNTIME_DIR": f"{place}/run", "XDG_STATE_HOME": f"{place}/state"}
    # With it, nothing that was imported is kept compiled, and each run would compile the command anew; nobody's
    # environment is like that. The floor is measured without it too.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    launch = [str(LAUNCH)]
    subprocess.run([*launch, "serve", "--background"], env=environment, check=True, stdout=subprocess.DEVNULL)
    try:
        for number in range(JOBS):
            submit = [*launch, "submit", "-l", f"bench/{number}", "-p", "sleep", "600"]
            subprocess.run(submit, env=environment, check=True, stdout=subprocess.DEVNULL)
        yield environment
    finally:
        subprocess.run([*launch, "shutdown"], env=environment, check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(place)


def elapsed_ms(argv: list[str], environment: Environment) -> float:
    """How long a whole process takes."""
    begin = time.perf_counter()
    subprocess.run(argv, env=environment, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begin) * 1000


def measure(environment: Environment) -> dict[str, list[float]]:
    """Each command's times, run by run in turn."""
    launch = str(LAUNCH)
    times: dict[str, list[float]] = {"python -c pass": [], "launch list": [], "launch submit": [], "launch stop": []}
    for run in range(-3, RUNS):  # the first few only warm caches
        label = f"bench/run-{run + 3}"
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "launch list": [launch, "list", "bench/[0-9]"],
            "launch submit": [launch, "submit", "-l", label, "-p", "sleep", "600"],
            "launch stop": [launch, "stop", label],
        }
        for name, argv in commands.items():
            taken = elapsed_ms(argv, environment)
            if run >= 0:
                times[name].append(taken)
    return times


def main() -> int:
    """Measure, print, and judge."""
    with launcher() as environment:
        times = measure(environment)
    floor = statistics.median(times["python -c pass"])
    print(f"whole processes, {JOBS} jobs up, {RUNS} runs each, interleaved")
    print(f"{'':16} {'median':>9} {'p99':>9} {'ratio':>7} {'bound':>7}")
    over = []
    for name, taken in times.items():
        median, p99 = statistics.median(taken), statistics.quantiles(taken, n=100)[98]
        bound = "" if name == "python -c pass" else f"{BOUND:.2f}"
        print(f"{name:16} {median:6.1f} ms {p99:6.1f} ms {median / floor:7.2f} {bound:>7}")
        if bound and median / floor > BOUND:
            over.append(name)
    if over:
        print(f"over the bound: {', '.join(over)}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
