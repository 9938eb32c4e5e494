"""``launch shutdown``: ends the launcher, and the jobs unless they are to be left."""

from __future__ import annotations

from relaunch.cli.outcomes import tell
from relaunch.cli.output import write
from relaunch.client.calls import shutdown
from relaunch.client.quick import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments


def run(arguments: Arguments) -> int:
    """End the launcher, and name the jobs that survived."""
    survivors = Client().call(shutdown(leave_jobs=arguments["leave_jobs"]))
    status = tell(survivors, lambda _job: "left running")
    write("the launcher has ended; its jobs run on\n" if arguments["leave_jobs"] else "the launcher has ended\n")
    return status
