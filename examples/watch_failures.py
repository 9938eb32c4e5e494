"""Print every failure of a job as it happens, with the last lines that the job printed.

    python examples/watch_failures.py              # all jobs
    python examples/watch_failures.py 'kvs/*' p1   # these

A failure is an end that nobody asked for: a crash, an exit code other than 0, any end of a job that is kept alive, a
start that failed. No event is missed while the launcher is away.
"""

import asyncio
import contextlib
import sys
from datetime import datetime

import relaunch


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
    """Follow the launcher of this host for ever, over its every restart."""
    async with relaunch.subscribe(*patterns, kinds=["job.exited", "job.start-failed"]) as events:
        print("watching", flush=True)
        async for event in events:
            if event.kind.startswith("stream."):
                print(f"some events are lost: {event.kind}", file=sys.stderr)
            elif not event.data["expected"]:
                tell(event)


if __name__ == "__main__":
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(watch(sys.argv[1:]))
    except relaunch.RelaunchError as error:
        sys.exit(f"watch_failures: {error}")
