"""Restart running jobs one after the other, and stop at the first that does not stay up.

    python examples/rolling_restart.py 'kvs/*'
    python examples/rolling_restart.py --settle 10 'kvs/*'

So at most one replica is down at a time, and a broken new version takes down no more than one.
"""

import argparse
import asyncio
import sys

import relaunch

UP = ("running", "ready")


async def restart(launcher: relaunch.Connection, label: str, settle_s: float) -> str | None:
    """Restart one job and see whether it stays up.

    Returns:
        What went wrong; None when nothing did.
    """
    (outcome,) = await launcher.restart(label)
    if outcome.error or outcome.job is None:
        return outcome.message
    run = outcome.job.run
    await asyncio.sleep(settle_s)
    (job,) = await launcher.list(label)
    if job.state in UP and job.run == run:
        print(f"{label}: up again, pid {job.pid}", flush=True)
        return None
    return f"{label} did not stay up for {settle_s:g} seconds{how(job.exit)}"


def how(end: relaunch.Exit | None) -> str:
    """How it ended, as far as that is known."""
    if end is None:
        return ""
    return f": {end.signal or end.message or (end.reason if end.code is None else f'code {end.code}')}"


async def main(patterns: list[str], settle_s: float) -> int:
    """Restart all; gives the exit status."""
    async with relaunch.connect() as launcher:
        labels = [job.label for job in await launcher.list(*patterns) if job.state in UP]
        for number, label in enumerate(labels, 1):
            problem = await restart(launcher, label, settle_s)
            if problem:
                print(f"{problem}\n{len(labels) - number} of {len(labels)} were left alone", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Restart running jobs one after the other.")
    parser.add_argument("patterns", nargs="+", metavar="PATTERN")
    parser.add_argument("--settle", type=float, default=3.0, metavar="SECONDS", help="how long each must stay up (3)")
    options = parser.parse_args()
    try:
        sys.exit(asyncio.run(main(options.patterns, options.settle)))
    except relaunch.RelaunchError as error:
        sys.exit(f"rolling_restart: {error}")
