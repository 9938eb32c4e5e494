"""Stories of delivery: `python -m tests.simulation.delivery.run --seed N`, or `--seeds N --first M`.

Stops at the first broken promise, and names the seed that shows it again.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.delivery.world import Faults, Parts, World
from tests.simulation.host import Violation

# Seeds that one process takes at a time.
BLOCK = 100


def broken(seeds: range, parts: Parts | None = None, faults: Faults | None = None) -> tuple[int, Violation] | None:
    """The first seed whose story breaks a promise, and which; None where all are kept."""
    for seed in seeds:
        try:
            World(seed, parts or Parts(), faults).run()
        except Violation as violation:
            return seed, violation
    return None


def broken_of_many(seeds: range, done: Callable[[int], None] = lambda _: None) -> tuple[int, str] | None:
    """The same for many seeds, by one process for each processor; ``done`` is told how many stories went well."""
    blocks = [seeds[at : at + BLOCK] for at in range(0, len(seeds), BLOCK)]
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        for number, found in enumerate(pool.map(broken, blocks), 1):
            if found is not None:
                pool.shutdown(cancel_futures=True)
                return found[0], str(found[1])
            done(min(number * BLOCK, len(seeds)))
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
    before = time.monotonic()

    def tell(stories: int) -> None:
        sys.stderr.write(f"{stories} stories: fine, {stories / (time.monotonic() - before):.0f} a second\n")

    found = broken_of_many(range(options.first, options.first + options.seeds), tell)
    if found is not None:
        sys.stdout.write(f"seed {found[0]}: {found[1]}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
