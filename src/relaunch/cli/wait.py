"""``launch wait``: waits until jobs have finished.

Knows whose status it ends with. Refuses to know which status stands for an end (``ended``).
"""

from __future__ import annotations

from relaunch.cli.ended import exit_status
from relaunch.cli.output import write
from relaunch.client.calls import wait
from relaunch.client.quick import call_until_answered, encode_array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from relaunch.cli.grammar import Arguments
    from relaunch.cli.over import Over
    from relaunch.cli.results import Told

    Wire = dict[str, Any]


def run(arguments: Arguments) -> int:
    """Wait, and end with the status of the first job that did not end with 0."""
    jobs = call_until_answered(wait(arguments["patterns"]))
    if arguments["json"]:
        write(encode_array(jobs))
    return next(filter(None, map(exit_status, jobs)), 0)


def run_over(over: Over, arguments: Arguments) -> int:
    """Wait for jobs on many hosts, name those that did not end with 0, and end with the status of the first of them.

    Where a host fails, the status is that of the failure: what became of the jobs is not known then.
    """
    from relaunch.cli.many import failed, request
    from relaunch.cli.results import Results

    results = Results(over, _told, as_json=arguments["json"])
    status = request(over, arguments, lambda its: wait(its["patterns"]), results)
    if any(map(failed, results.answers.values())):
        return status
    return next(filter(None, (exit_status(job) for jobs in results.answers.values() for job in jobs)), 0)


def _told(_host: str, jobs: Sequence[Wire]) -> Told:
    from relaunch.cli.render import end
    from relaunch.cli.results import Line, Told

    return Told([Line(f"{job['label']} ended: {end(job['exit'])}", wrong=True) for job in jobs if exit_status(job)])
