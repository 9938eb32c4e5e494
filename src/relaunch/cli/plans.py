"""What ``apply`` and ``diff`` have in common: job files read, hosts asked, plans shown.

Refuses to know how plans are made and carried out (``relaunch.applying``).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from relaunch.applying.looking import Hosts, Plans, look
from relaunch.applying.plan import CHANGES, Step, Verb
from relaunch.applying.wanted import HERE, Wish, wish_of
from relaunch.cli.output import say, write
from relaunch.cli.over import Over
from relaunch.cli.progress import Progress
from relaunch.cli.results import Line, failure_line, tell_folded
from relaunch.client.calls import ANSWER_S, FANOUT
from relaunch.client.quick import encode
from relaunch.errors import BadJobFile, RelaunchError
from relaunch.jobfile import read_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments

_HERE_WORD = "here"
_VERBS: tuple[Verb, ...] = ("start", "change", "keep", "stop")


def read_wish(arguments: Arguments, over: Over | None, *, strangers: bool) -> Wish:
    """What the files that are named want, of the hosts of ``over`` alone where it is given; warnings are said.

    Args:
        arguments: As typed.
        over: The hosts, where they are typed.
        strangers: Whether these may be others than those of the files.

    Raises:
        BadJobFile, Usage, BadHost: Something in them is wrong.
    """
    files = read_paths(arguments["paths"])
    *slips, last = [slip for file in files for slip in file.slips] or [""]
    if last:
        # What was meant is not done, and hosts would be made what nobody wants.
        for slip in slips:
            say(slip)
        raise BadJobFile(last)
    wish = wish_of(files, over.hosts if over else (), strangers=strangers)
    for warning in [warning for file in files for warning in file.warnings] + list(wish.warnings):
        say(f"warning: {warning}")
    return wish


def hosts_of(arguments: Arguments, over: Over | None, wish: Wish) -> Hosts:
    """The hosts, not entered yet."""
    fanout = arguments["fanout"] or (over.fanout if over else FANOUT)
    timeout_s = arguments["timeout"] or (over.timeout_s if over else None) or ANSWER_S
    return Hosts(wish.hosts, fanout=fanout, timeout_s=timeout_s, prompts=os.isatty(0) and os.isatty(2))


def progress_of(hosts: Iterable[str]) -> Progress:
    """What says who of these hosts is waited for."""
    return Progress([name_of(host) for host in hosts])


async def look_at(hosts: Hosts, wish: Wish, progress: Progress, *, prune: bool) -> Plans:
    """The plans of hosts that are entered; where it takes a while, a line says who is waited for."""
    progress.begin()
    try:
        return await look(hosts, wish, prune=prune, looked=lambda host: progress.took(name_of(host)))
    finally:
        progress.end()


def name_of(host: str) -> str:
    """A host's name for people and programs."""
    return _HERE_WORD if host == HERE else host


def show_plans(plans: Plans, shown: Sequence[str], *, as_json: bool) -> None:
    """Show what is to be done on each host.

    Args:
        plans: By host.
        shown: Only steps with these verbs.
        as_json: Whether a program reads it, an object in a line for each host.
    """
    if as_json:
        for host, steps in plans.items():
            write(encode({"host": name_of(host), **_plan_wire(host, steps)}) + "\n")
        return
    lines: dict[str, list[Line]] = {}
    for host, steps in plans.items():
        if isinstance(steps, RelaunchError):
            lines[name_of(host)] = [failed_line(host, steps)]
        else:
            lines[name_of(host)] = [Line(step.text, step.folded) for step in steps if step.verb in shown]
    tell_folded(lines)


def show_count(plans: Mapping[str, Sequence[Step]]) -> None:
    """Say in a line how much there is to do."""
    verbs = Counter(step.verb for steps in plans.values() for step in steps)
    counted = ", ".join(f"{verbs[verb]} to {verb}" for verb in _VERBS)
    left = f", {verbs['leave']} left" if verbs["leave"] else ""
    write(f"{counted}{left}, on {len(plans)} host{'s' * (len(plans) != 1)}\n")


def changes(steps: Sequence[Step] | RelaunchError) -> bool:
    """Whether anything is to be done."""
    return not isinstance(steps, RelaunchError) and any(step.verb in CHANGES for step in steps)


def failed_line(host: str, error: RelaunchError, about: str = "") -> Line:
    """The line for a failure, as ``failure_line``; of this host too."""
    if host != HERE:
        return failure_line(host, error, about)
    return Line(error.message if about in error.message else f"{about}: {error.message}", wrong=True)


def _plan_wire(host: str, steps: Sequence[Step] | RelaunchError) -> dict[str, Any]:
    if isinstance(steps, RelaunchError):
        return {"error": error_wire(host, steps)}
    return {"plan": [_step_wire(step) for step in steps]}


def _step_wire(step: Step) -> dict[str, Any]:
    differences = [{"field": one.field, "before": one.before, "after": one.after} for one in step.differences]
    return {"do": step.verb, "label": step.label, "why": step.why or None, "differences": differences}


def error_wire(host: str, error: RelaunchError) -> dict[str, str]:
    """An error for a program."""
    return {"name": error.wire_name, "message": error.message.removeprefix(f"{host}: ") if host else error.message}
