"""Send a page for every failure, and leave none out, whoever dies meanwhile: launcher, mail server or this program.

    python examples/pager.py mail -s failure ops@example.org
    python examples/pager.py --port 9001 --suspect-after 1 ./page
    python examples/pager.py --host node1 --host node2 ./page        # of other hosts, over ssh

The page is on the standard input of the program that is named, which is run again until it exits with 0. Only then is
the failure acknowledged: started again, this program goes on with what has not been. Silence of the launcher's host is
a failure too, as far as it can be known: it is only suspected.
"""

import argparse
import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE

import relaunch

AGAIN_S = 2.0
KINDS = ("job.exited", "job.start-failed", "job.failed", "launcher.lost", "host.suspect", "host.lost", "host.back")


def page_for(event: relaunch.Event) -> str | None:
    """What to tell; None where there is nothing to be told."""
    again = " (you may have been told already)" if event.redelivered else ""
    if event.kind == "job.failed":
        return f"{event.label} failed: it was started again too often, and is not any more{again}\n"
    if event.kind.startswith("job."):
        if event.data["expected"]:
            return None
        code = event.data["code"]
        how = event.data["signal"] or event.data["message"] or ("how is not known" if code is None else f"code {code}")
        return f"{event.label} failed: {how}{again}\n"
    return f"{event.source}: {event.kind}{again}\n"


async def send(page: str, command: list[str]) -> bool:
    """Run the program with the page on its standard input; gives whether it has taken it."""
    program = await asyncio.create_subprocess_exec(*command, stdin=PIPE)
    await program.communicate(page.encode())
    return program.returncode == 0


async def main(command: list[str], hosts: list[str], port: int, suspect_after_s: float) -> None:
    """Send pages for ever."""
    subscriber = relaunch.subscribe(
        kinds=KINDS, name="pager", hosts=hosts, serve=f":{port}", suspect_after_s=suspect_after_s
    )
    async with subscriber as events:
        print(events.described, flush=True)
        async for event in events:  # taking the next one acknowledges this one
            page = page_for(event)
            while page is not None and not await send(page, command):
                print(f"not sent, and tried again in {AGAIN_S:g} s: {page}", end="", file=sys.stderr)
                await asyncio.sleep(AGAIN_S)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Send a page for every failure.")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="PROGRAM")
    parser.add_argument("--host", action="append", default=[], help="whose failures, as ssh takes it (this one)")
    parser.add_argument("--port", type=int, default=9000, help="where the launcher connects to (9000)")
    parser.add_argument("--suspect-after", type=float, default=3.0, metavar="SECONDS", help="of silence (3)")
    options = parser.parse_args()
    if not options.command:
        parser.error("a program is missing")
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(main(options.command, options.host, options.port, options.suspect_after))
    except (relaunch.RelaunchError, OSError) as error:
        sys.exit(f"pager: {error}")
