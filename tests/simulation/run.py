"""Simulated lives from the command line: `python -m tests.simulation.run --seed N`, or `--seeds N --first M`.

Stops at the first broken promise, and names the seed that shows it again.
"""

import argparse
import sys
import time

from tests.simulation.host import Violation
from tests.simulation.simulation import Faults, Parts, Simulation


def broken(seeds: range, parts: Parts | None = None, faults: Faults | None = None) -> tuple[int, Violation] | None:
    """The first seed whose life breaks a promise, and which; None where all are kept."""
    for seed in seeds:
        try:
            Simulation(seed, parts or Parts(), faults).run()
        except Violation as violation:
            return seed, violation
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run")
    parser.add_argument("--seed", type=int, help="this one only, with its journal")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1_000_000)
    options = parser.parse_args()
    if options.seed is not None:
        simulation = Simulation(options.seed)
        try:
            simulation.run()
        finally:
            lines = [f"{entry.job_id}.{entry.run} {entry.kind} {entry.data}" for entry in simulation.journal.entries]
            sys.stdout.write("\n".join([*lines, f"until {simulation.schedule.now:.3f} s, {simulation.bad}", ""]))
        return 0
    before, block = time.monotonic(), 1000
    for first in range(options.first, options.first + options.seeds, block):
        found = broken(range(first, min(first + block, options.first + options.seeds)))
        if found is not None:
            sys.stdout.write(f"seed {found[0]}: {found[1]}\n")
            return 1
        done = min(block, options.first + options.seeds - first) + first - options.first
        rate = done / (time.monotonic() - before)
        sys.stderr.write(f"{done} lives: fine, {rate:.0f} lives/s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
