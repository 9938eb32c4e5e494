"""How long `launch list`, `submit` and `stop` take as whole processes, against `python -c pass` of the same Python.

Eight jobs are up. The runs are interleaved, so that a noisy machine is as noisy for each: only the ratios mean much.
The bound is on the ratio of the medians.
"""

import subprocess
import sys
import time

from launcher import LAUNCH, Environment, launcher, median, p99, table

RUNS = 60
JOBS = 8
BOUND = 2.2


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
    """Measure and print; the exit status says whether the bound holds."""
    with launcher() as environment:
        for number in range(JOBS):
            submit = [str(LAUNCH), "submit", "-l", f"bench/{number}", "-p", "sleep", "600"]
            subprocess.run(submit, env=environment, check=True, stdout=subprocess.DEVNULL)
        times = measure(environment)
    floor = median(times["python -c pass"])
    rows = []
    for name, taken in times.items():
        bound = "floor" if name == "python -c pass" else f"<= {BOUND}"
        rows.append([name, f"{median(taken):.1f}", f"{p99(taken):.1f}", f"{median(taken) / floor:.2f}", bound])
    table(f"Whole processes, {JOBS} jobs up, {RUNS} runs each", ["", "median ms", "p99 ms", "ratio", "bound"], rows)
    return 0 if all(median(taken) / floor <= BOUND for taken in times.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
