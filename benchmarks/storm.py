"""A storm: 2,000 jobs killed at once, two subscribers. How many events a second, and how long until the last one.

The floor is the same without subscribers: from the first SIGKILL until ``wait`` says that every job has ended, each end
in the journal. Each round kills 2,000 jobs; both subscribers must have heard of each job's death exactly once.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time

from launcher import Environment, launcher, median, p99, pid_of, table

import relaunch
from relaunch.transport.stream import Kind

JOBS = 2_000
ROUNDS = 3


async def start(prefix: str) -> list[relaunch.JobStatus]:
    """Start the jobs."""
    async with relaunch.connect() as here:
        return list(await asyncio.gather(*(here.submit(f"{prefix}/{n}", ["sleep", "1000"]) for n in range(JOBS))))


async def wait(prefix: str) -> None:
    """Wait until every job has ended."""
    async with relaunch.connect() as here:
        await here.wait(f"{prefix}/*")


async def hear(transport: Kind, prefix: str) -> None:
    """As a subscriber: says when it is subscribed, and at the end when each death was told, on the system's clock."""
    at: dict[str, float] = {}
    again = 0
    async with relaunch.subscribe(f"{prefix}/*", serve="127.0.0.1:0", transport=transport) as events:
        print("ready", flush=True)
        async for event in events:
            if event.kind == "job.exited" and event.label is not None:
                again += event.label in at
                at[event.label] = time.monotonic()
            if len(at) == JOBS:
                await events.ack()
                break
    print(json.dumps({"again": again, "at": sorted(at.values())}), flush=True)


def storm(number: int, transports: tuple[str, ...], environment: Environment) -> tuple[float, list[list[float]]]:
    """Kill all jobs of a round.

    Returns:
        Seconds until the journal had every end, and for each subscriber seconds until each event was told.
    """
    prefix = f"storm{number}"
    subscribers = [
        subprocess.Popen([sys.executable, __file__, transport, prefix], env=environment, stdout=subprocess.PIPE)
        for transport in transports
    ]
    jobs = asyncio.run(start(prefix))
    for subscriber in subscribers:
        if subscriber.stdout is None or subscriber.stdout.readline() != b"ready\n":
            raise SystemExit("a subscriber did not begin")
    begin = time.monotonic()
    for job in jobs:
        os.kill(pid_of(job), signal.SIGKILL)
    asyncio.run(wait(prefix))
    ended = time.monotonic() - begin
    told = []
    for subscriber in subscribers:
        said, _ = subscriber.communicate(timeout=120)
        heard = json.loads(said)
        if heard["again"] or len(heard["at"]) != JOBS:
            raise SystemExit(f"told again: {heard['again']}; told: {len(heard['at'])} of {JOBS}")
        told.append([at - begin for at in heard["at"]])
    return ended, told


def main() -> int:
    """Measure and print."""
    if len(sys.argv) > 1:
        asyncio.run(hear("tcp" if sys.argv[1] == "tcp" else "quic", sys.argv[2]))
        return 0
    rounds: dict[str, list[float]] = {}
    rates: dict[str, list[float]] = {}

    def note(name: str, last: float) -> None:
        rounds.setdefault(name, []).append(last)
        rates.setdefault(name, []).append(JOBS / last)

    with launcher() as environment:
        os.environ.update(environment)
        for number in range(ROUNDS):
            ended, _ = storm(2 * number, (), environment)
            note("no subscriber, journaled", ended)
            ended, told = storm(2 * number + 1, ("tcp", "quic"), environment)
            note("two subscribers, journaled", ended)
            note("told over tcp", told[0][-1])
            note("told over quic", told[1][-1])
    floor = median(rounds["no subscriber, journaled"])
    rows = [
        [name, f"{median(rates[name]):.0f}", f"{median(last):.2f}", f"{p99(last):.2f}", f"{median(last) / floor:.2f}"]
        for name, last in rounds.items()
    ]
    header = ["", "events/s", "last one after s", "p99", "ratio"]
    table(f"{JOBS} jobs killed at once, {ROUNDS} rounds", header, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
