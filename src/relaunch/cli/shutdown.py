"""``launch shutdown``: ends the launcher, and the jobs unless they are to be left.

Knows when the keeper has ended too. Refuses to know how jobs are ended.
"""

from __future__ import annotations

import contextlib
import os
import select

from relaunch.cli.outcomes import tell, told
from relaunch.cli.output import write
from relaunch.client.calls import get_status, shutdown
from relaunch.client.quick import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from relaunch.cli.grammar import Arguments
    from relaunch.cli.over import Over
    from relaunch.cli.results import Told

    Wire = dict[str, Any]


KEEPER_ENDS_WITHIN_MS = 5_000


def run(arguments: Arguments) -> int:
    """End the launcher, and name the jobs that survived. Returns when its keeper has ended: the next may serve then."""
    client, keeper = Client(), select.poll()
    # Where the keeper is gone already, the launcher is dying with it, and the call will tell.
    with contextlib.suppress(OSError):
        keeper.register(os.pidfd_open(client.call(get_status())["keeper_pid"]), select.POLLIN)
    survivors = client.call(shutdown(leave_jobs=arguments["leave_jobs"]))
    keeper.poll(KEEPER_ENDS_WITHIN_MS)
    status = tell(survivors, lambda _outcome: "left running", as_json=arguments["json"])
    if not arguments["json"]:
        write(f"{_ended(arguments)}\n")
    return status


def run_over(over: Over, arguments: Arguments) -> int:
    """End the launchers of many hosts, and name the jobs that survived."""
    from relaunch.cli.many import request
    from relaunch.cli.results import Line, Results

    def its(host: str, survivors: Sequence[Wire]) -> Told:
        what = told(host, survivors, lambda _outcome: "left running")
        what.lines = [*what.lines, Line(_ended(arguments))]
        return what

    results = Results(over, its, as_json=arguments["json"])
    return request(over, arguments, lambda _its: shutdown(leave_jobs=arguments["leave_jobs"]), results)


def _ended(arguments: Arguments) -> str:
    return "the launcher has ended; its jobs run on" if arguments["leave_jobs"] else "the launcher has ended"
