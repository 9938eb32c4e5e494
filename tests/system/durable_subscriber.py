"""A subscriber with a name, as a process of its own: it can be killed, and stopped.

Prints what is to be sent to the launcher, then each event as a line, and takes the next one when it is sent a line.
"""

import asyncio
import contextlib
import json
import sys
from typing import Any

from tests.system.played_launcher import register

from relaunch.errors import RelaunchError
from relaunch.subscriber.subscription import Subscription
from relaunch.transport.address import Address


def say(**said: Any) -> None:
    sys.stdout.write(f"{json.dumps(said)}\n")
    sys.stdout.flush()


async def main(name: str | None, suspect_after_s: float) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    address = Address("127.0.0.1", 0)
    async with await Subscription.open(
        address=address, transport="tcp", name=name, kinds=("*",), suspect_after_s=suspect_after_s
    ) as subscription:
        say(spec=subscription.request("host").to_wire())
        register(subscription)
        while line := (await reader.readline()).strip():
            if line == b"ack":
                await subscription.ack()
                say(acked=True)
            else:
                event = await anext(subscription)
                say(id=event.id, kind=event.kind, redelivered=event.redelivered, data=dict(event.data))


if __name__ == "__main__":
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(main(sys.argv[1] or None, float(sys.argv[2])))
    except RelaunchError as error:
        say(error=type(error).__name__, message=error.message)
