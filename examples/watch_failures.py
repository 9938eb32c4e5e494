"""Print every failure of a job as it happens, with the last lines that the job printed.

    python examples/watch_failures.py              # all jobs
    python examples/watch_failures.py 'kvs/*' p1   # these

A failure is an end that nobody asked for: a crash, an exit code other than 0, any end of a job that is kept alive, a
start that failed. No event is missed while the launcher is away: the journal is read on from the last one seen.
"""

import asyncio
import contextlib
import sys
from datetime import datetime

import relaunch
from relaunch.errors import Unreachable

AGAIN_S = 0.5


def is_failure(event: relaunch.Event) -> bool:
    """Whether the event is an end that nobody asked for."""
    return event.kind in ("job.exited", "job.start-failed") and not event.data["expected"]


def tell(event: relaunch.Event) -> None:
    """Print what happened, what comes next, and what the job said last."""
    data = event.data
    if data["signal"]:
        how = f"was killed by {data['signal']}"
    elif data["code"] is not None:
        how = f"exited with code {data['code']}"
    else:
        how = data["message"] or f"ended ({data['reason']})"
    after = "" if data["restart_in_s"] is None else f"; starts again in {data['restart_in_s']:.1f} s"
    print(f"{datetime.fromtimestamp(event.at):%H:%M:%S}  {event.label}  {how}{after}")
    for line in data.get("output_tail", ()):
        print(f"    {line}")
    sys.stdout.flush()


async def watch(patterns: list[str]) -> None:
    """Follow the journal for ever, over every restart of the launcher."""
    epoch, sequence = None, 0
    while True:
        try:
            async with relaunch.connect() as launcher:
                journal = (await launcher.status()).journal
                if epoch is None:
                    epoch, sequence = journal["epoch"], journal["last_sequence"]
                    print(f"watching from event {sequence} on", flush=True)
                elif epoch != journal["epoch"]:  # a new journal took the place of a damaged one: all of it is new
                    epoch, sequence = journal["epoch"], 0
                async for event in launcher.events(*patterns, since=sequence, follow=True):
                    sequence = event.sequence
                    if is_failure(event):
                        tell(event)
        except Unreachable as error:
            print(f"watching goes on when there is a launcher again: {error}", file=sys.stderr)
        await asyncio.sleep(AGAIN_S)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(watch(sys.argv[1:]))
