"""``launch list``: the jobs there are.

Knows which jobs are asked for. Refuses to know how a table looks (``render``).
"""

from __future__ import annotations

import os

from relaunch.cli.output import STDOUT, say, write
from relaunch.client.calls import Call
from relaunch.client.quick import Client, encode_array
from relaunch.errors import NoSuchLabel, ProtocolBroken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from relaunch.cli.grammar import Arguments
    from relaunch.cli.over import Over
    from relaunch.cli.results import Told

    Wire = dict[str, Any]
    Found = tuple[list[Wire], list[str]]


class _List(Call):
    """The jobs that patterns choose, and the patterns that choose none; one that is alone is refused."""

    __slots__ = ("_chosen_here",)

    def __init__(self, patterns: Sequence[str]) -> None:
        # A launcher refuses them all for one that chooses nothing.
        self._chosen_here = list(patterns) if len(patterns) > 1 else []
        asked = None if self._chosen_here else list(patterns) or None
        super().__init__("List", {"patterns": asked}, "jobs")

    def read(self, reply: Wire) -> Found:
        """See ``Call``."""
        jobs: list[Wire] = super().read(reply)
        if not self._chosen_here:
            return jobs, []
        try:
            return _chosen(self._chosen_here, {job["label"]: job for job in jobs})
        except (LookupError, TypeError, AttributeError):
            raise ProtocolBroken("the launcher's answer is not what was asked for") from None


def _chosen(patterns: list[str], jobs: dict[str, Wire]) -> Found:
    from relaunch.labels import is_pattern, select

    labels, barren = select(patterns, jobs)
    if not any(map(is_pattern, patterns)):
        labels = [label for label in dict.fromkeys(patterns) if label in jobs]
    return [jobs[label] for label in labels], list(dict.fromkeys(barren))


def _error(pattern: str) -> NoSuchLabel:
    from relaunch.labels import no_such

    return NoSuchLabel(no_such(pattern))


def run(arguments: Arguments) -> int:
    """List jobs, as far as there are such."""
    jobs, unknown = Client().call(_List(arguments["patterns"]))
    if arguments["json"]:
        write(encode_array(jobs))
    elif jobs or not unknown:
        from relaunch.cli.render import jobs_table

        write(jobs_table(jobs, terminal=os.isatty(STDOUT)))
    if not unknown:
        return 0
    from relaunch.cli.hints import hint

    for pattern in unknown:
        error = _error(pattern)
        say(error.message + hint(error, {"patterns": [pattern]}))
    return NoSuchLabel.exit_status


def run_over(over: Over, arguments: Arguments) -> int:
    """List the jobs of many hosts, in one table."""
    from relaunch.cli.many import request
    from relaunch.cli.results import Results, tell_folded

    as_json = arguments["json"]
    results = Results(over, _told, show=_shown, as_json=as_json, value=lambda found: found[0])
    status = request(over, arguments, lambda its: _List(its["patterns"]), results)
    if as_json:
        well = {host: found for host, found in results.answers.items() if isinstance(found, tuple)}
        tell_folded({host: _told(host, found).lines for host, found in well.items()})
    return status


def _told(host: str, found: Found) -> Told:
    from relaunch.cli.results import Told, failure_line

    _, unknown = found
    lines = [failure_line(host, _error(pattern)) for pattern in unknown]
    return Told(lines, NoSuchLabel.exit_status if unknown else 0)


def _shown(found_of: dict[str, Found]) -> str:
    from relaunch.cli.render import jobs_table

    rows = [(host, job) for host, (jobs, _) in found_of.items() for job in jobs]
    if not rows and any(unknown for _, unknown in found_of.values()):
        return ""
    return jobs_table([job for _, job in rows], terminal=os.isatty(STDOUT), hosts=[host for host, _ in rows])
