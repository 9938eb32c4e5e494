"""``launch apply``: makes a cluster what its job files say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relaunch.applying.carrying import READY_S, Carrying, Pace, Result, Steps, look
from relaunch.applying.wanted import Wish
from relaunch.cli.interruption import run_until_interrupted
from relaunch.cli.output import write
from relaunch.cli.over import Over
from relaunch.cli.plans import changes, error_wire, hosts_of, name_of, read_wish, show_count, show_plans
from relaunch.cli.results import Line, failure_line, status_of_all, tell_folded
from relaunch.client.quick import encode
from relaunch.errors import RelaunchError, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments

_DONE = {"start": "started", "change": "changed", "stop": "stopped"}
_SHOWN = ("start", "change", "keep", "stop", "leave")
_FAILED = 1


def run(arguments: Arguments) -> int:
    """Show the plan, carry it out, and tell what became of it."""
    return _apply(arguments, None)


def run_over(over: Over, arguments: Arguments) -> int:
    """The same for some of the files' hosts; jobs without ``Hosts`` are for these."""
    return _apply(arguments, over)


def _apply(arguments: Arguments, over: Over | None) -> int:
    wish = read_wish(arguments, over)
    outcome = _Outcome(as_json=arguments["json"], at_once=arguments["rolling"] is not None)
    try:
        run_until_interrupted(_carry_out(arguments, over, wish, outcome))
    finally:
        outcome.show()
    return outcome.status


async def _carry_out(arguments: Arguments, over: Over | None, wish: Wish, outcome: _Outcome) -> None:
    async with hosts_of(arguments, over, wish) as hosts:
        plans = await look(hosts, wish, prune=arguments["prune"])
        show_plans(plans, _SHOWN, as_json=arguments["json"])
        outcome.planned(plans)
        well = {host: steps for host, steps in plans.items() if not isinstance(steps, RelaunchError)}
        if not arguments["json"]:
            show_count(well)
        if arguments["dry_run"] or not any(map(changes, well.values())):
            return
        if arguments["rolling"] and len(well) < len(plans):
            raise Unreachable("with --rolling nothing is begun while a host cannot be asked; nothing was changed")
        pace = Pace(
            rolling=arguments["rolling"],
            wait_ready=arguments["wait_ready"],
            ready_s=arguments["ready_timeout"] or READY_S,
        )
        await Carrying(hosts, wish, well, pace, outcome.took).carry_out()


class _Outcome:
    """What became of it all: told as it comes where a program reads it or it comes slowly, else folded at the end."""

    def __init__(self, *, as_json: bool, at_once: bool) -> None:
        self._as_json = as_json
        self._at_once = at_once
        self._lines: dict[str, list[Line]] = {}
        self._statuses: dict[str, int] = {}

    @property
    def status(self) -> int:
        """The exit status: that of all hosts where they are alike, else that of a failure in part."""
        return status_of_all(list(self._statuses.values()) or [0])

    def planned(self, plans: Mapping[str, Steps | RelaunchError]) -> None:
        """Take what could be found out of each host."""
        self._statuses = {
            host: steps.exit_status if isinstance(steps, RelaunchError) else 0 for host, steps in plans.items()
        }

    def took(self, result: Result) -> None:
        """Take the result of a step."""
        host = result.host
        if result.error is not None or result.state != "done":
            failed = result.error.exit_status if result.error else _FAILED
            self._statuses[host] = self._statuses.get(host) or failed
        if self._as_json:
            write(encode(_wire(result)) + "\n")
            return
        line = _line(result)
        if self._at_once:
            tell_folded({name_of(host): [line]})
        else:
            self._lines.setdefault(name_of(host), []).append(line)

    def show(self) -> None:
        """Tell what has not been told."""
        lines, self._lines = self._lines, {}
        tell_folded(lines)


def _line(result: Result) -> Line:
    step, error = result.step, result.error
    if result.state == "not begun":
        return Line(f"{step.label}: not begun: {step.verb}", wrong=True)
    if result.state != "done" and error is not None:
        what = "unknown whether it was" if result.state == "unknown" else "not"
        return failure_line(result.host, error, f"{step.label}: {what} {_DONE[step.verb]}")
    job = result.job or {}
    words = f"{_DONE[step.verb]} {step.label}"
    folded = f"{words}, {job['state']}" if job else words
    if error is not None:
        return failure_line(result.host, error, folded)
    return Line(f"{folded}, pid {job['pid']}" if job.get("pid") else folded, folded)


def _wire(result: Result) -> dict[str, Any]:
    return {
        "host": name_of(result.host),
        "label": result.step.label,
        "do": result.step.verb,
        "result": result.state,
        "error": error_wire(result.host, result.error) if result.error else None,
        "job": dict(result.job) if result.job else None,
    }
