"""Stories of delivery: `python -m tests.simulation.delivery.run --seed N`, or `--seeds N --first M`.

Stops at the first broken promise, and names the seed that shows it again.
"""

import argparse
import sys
import time

from tests.simulation.delivery.world import Faults, Parts, World
from tests.simulation.host import Violation


def broken(seeds: range, parts: Parts | None = None, faults: Faults | None = None) -> tuple[int, Violation] | None:
    """The first seed whose story breaks a promise, and which; None where all are kept."""
    for seed in seeds:
        try:
            World(seed, parts or Parts(), faults).run()
        except Violation as violation:
            return seed, violation
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.delivery.run")
    parser.add_argument("--seed", type=int, help="this one only, with what was handled")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1_000_000)
    options = parser.parse_args()
    if options.seed is not None:
        world = World(options.seed)
        try:
            world.run()
        finally:
            lines = [f"{name}: {sorted(map(str, at.promises.told.handled))}" for name, at in world.sources.items()]
            sys.stdout.write("\n".join([*lines, f"until {world.schedule.now:.3f} s, {world.faults}", ""]))
        return 0
    before, block = time.monotonic(), 1000
    end = options.first + options.seeds
    for first in range(options.first, end, block):
        found = broken(range(first, min(first + block, end)))
        if found is not None:
            sys.stdout.write(f"seed {found[0]}: {found[1]}\n")
            return 1
        done = min(block, end - first) + first - options.first
        sys.stderr.write(f"{done} stories: fine, {done / (time.monotonic() - before):.0f} a second\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
