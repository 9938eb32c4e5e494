"""A launcher that does nothing but beat, as a process of its own: it can be stopped, and killed.

Takes subscriptions as JSON lines, one for each connection; says a line when all have been welcomed.
"""

import asyncio
import json
import sys

from tests.system.played_launcher import attached

from relaunch.subscription import SubscriptionSpec


async def main() -> None:
    asked = [json.loads(line) for line in sys.stdin]
    specs = [SubscriptionSpec.from_wire(one["spec"]) for one in asked]
    launchers = [await attached(spec, source=one["source"]) for spec, one in zip(specs, asked, strict=True)]
    sys.stdout.write("welcomed\n")
    sys.stdout.flush()
    while not all(launcher.over for launcher in launchers):
        for launcher in launchers:
            launcher.beat()
        await asyncio.sleep(specs[0].beat_s * 0.4)


if __name__ == "__main__":
    asyncio.run(main())
