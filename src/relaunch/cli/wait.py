"""``launch wait``: waits until jobs have finished."""

from __future__ import annotations

from relaunch.cli.ended import exit_status
from relaunch.cli.output import write
from relaunch.client.calls import wait
from relaunch.client.quick import call_until_answered, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments


def run(arguments: Arguments) -> int:
    """Wait, and end with the status of the first job that did not end with 0."""
    jobs = call_until_answered(wait(arguments["patterns"]))
    if arguments["json"]:
        write("[" + ",\n ".join(map(encode, jobs)) + "]\n")
    return next(filter(None, map(exit_status, jobs)), 0)
