"""Run replicas of a program that are only of use together: when one ends, the others are stopped.

    python examples/all_or_none.py kvs 3 -- ./kvsd --verbose

starts kvs/0, kvs/1 and kvs/2, each with its number in REPLICA and how many there are in REPLICAS. Exits with 0 when the
first to end did so with code 0. Interrupted (Ctrl-C), it stops them all.
"""

import asyncio
import os
import sys

import relaunch


async def main(group: str, count: int, argv: list[str]) -> int:
    """Start all, wait for the first end, stop all; gives the exit status."""
    async with relaunch.connect() as launcher:
        started: list[str] = []
        try:
            for number in range(count):
                environment = {"REPLICA": str(number), "REPLICAS": str(count)}
                job = await launcher.submit(f"{group}/{number}", argv, env=environment, cwd=os.getcwd())
                started.append(job.label)
                print(f"{job.label}: pid {job.pid}", flush=True)
            ends = [asyncio.create_task(launcher.wait(label)) for label in started]
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            (first,) = done.pop().result()
        finally:
            if started:
                await launcher.stop(*started)
        end = first.exit
        how = "" if end is None else end.signal or f"code {end.code}"
        print(f"{first.label} ended first ({how}), so all were stopped; it said last:", flush=True)
        async for piece in launcher.logs(first.label, lines=10):
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
    return 0 if end is not None and end.code == 0 else 1


if __name__ == "__main__":
    if len(sys.argv) < 5 or not sys.argv[2].isdecimal() or sys.argv[3] != "--":
        sys.exit("usage: all_or_none.py GROUP COUNT -- PROGRAM [ARG...]")
    try:
        sys.exit(asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[4:])))
    except relaunch.RelaunchError as error:
        sys.exit(f"all_or_none: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
