"""``launch apply``: makes a cluster what its job files say.

Knows how a plan and what became of it are told. Refuses to know how both come about (``relaunch.applying``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from relaunch.applying.carrying import READY_S, SETTLE_S, Carrying, Pace, Result
from relaunch.applying.looking import Plans
from relaunch.applying.plan import CHANGES, Verb
from relaunch.applying.wanted import HERE, Wish
from relaunch.cli.interruption import run_until_interrupted
from relaunch.cli.output import say, write
from relaunch.cli.over import Over
from relaunch.cli.plans import (
    changes,
    error_wire,
    failed_line,
    hosts_of,
    look_at,
    name_of,
    progress_of,
    read_wish,
    show_count,
    show_plans,
)
from relaunch.cli.progress import Progress
from relaunch.cli.results import Line, status_of_all, tell_folded
from relaunch.client.nodesets import fold
from relaunch.client.quick import encode
from relaunch.errors import RelaunchError, Unreachable, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments

_DONE = {"start": "started", "change": "changed", "stop": "stopped", "keep": "kept"}
_SHOWN = ("start", "change", "keep", "stop", "leave")
_FAILED = 1


def run(arguments: Arguments) -> int:
    """Show the plan, carry it out, and tell what became of it."""
    return _apply(arguments, None)


def run_over(over: Over, arguments: Arguments) -> int:
    """The same for some of the files' hosts; jobs without ``Hosts`` are for these."""
    return _apply(arguments, over)


def _apply(arguments: Arguments, over: Over | None) -> int:
    if arguments["settle"] is not None and not (arguments["rolling"] or arguments["wait_ready"]):
        raise Usage("--settle means nothing without --rolling or --wait-ready")
    # With --prune, a host that the files do not name any more is one that is to have none of their jobs.
    wish = read_wish(arguments, over, strangers=arguments["prune"])
    outcome = _Outcome(progress_of(wish.hosts), as_json=arguments["json"], slowly=arguments["rolling"] is not None)
    run_until_interrupted(_carry_out(arguments, over, wish, outcome), outcome.interrupted)
    return outcome.status


async def _carry_out(arguments: Arguments, over: Over | None, wish: Wish, outcome: _Outcome) -> None:
    async with hosts_of(arguments, over, wish) as hosts:
        plans = await look_at(hosts, wish, outcome.progress, prune=arguments["prune"])
        show_plans(plans, _SHOWN, as_json=arguments["json"])
        outcome.planned(plans)
        well = {host: steps for host, steps in plans.items() if not isinstance(steps, RelaunchError)}
        if well and not arguments["json"]:
            show_count(well)
        waits = arguments["wait_ready"] and any(step.verb == "keep" for steps in well.values() for step in steps)
        if arguments["dry_run"] or not (waits or any(map(changes, well.values()))):
            return
        if arguments["rolling"] and len(well) < len(plans):
            raise _with_a_host_down(plans)
        pace = _pace(arguments)
        carrying = Carrying(hosts, wish, plans, pace, outcome.took)
        outcome.begin(plans, carrying, CHANGES | {"keep"} if pace.wait_ready else CHANGES)
        try:
            await carrying.carry_out()
        finally:
            outcome.end()


def _pace(arguments: Arguments) -> Pace:
    rolling, settle_s = arguments["rolling"], arguments["settle"]
    return Pace(
        rolling=rolling,
        wait_ready=arguments["wait_ready"],
        ready_s=arguments["ready_timeout"] or READY_S,
        settle_s=settle_s if settle_s is not None else SETTLE_S if rolling else 0.0,
    )


def _with_a_host_down(plans: Plans) -> Unreachable:
    down = [host for host, steps in plans.items() if isinstance(steps, RelaunchError)]
    others = [host for host in plans if host not in down and host != HERE]
    way = f"; for the others: launch -H {fold(others)} apply" if others else ""
    where = fold([name_of(host) for host in down])
    return Unreachable(f"with --rolling nothing is begun while {where} cannot be asked; nothing was changed{way}")


class _Outcome:
    """What became of it all: told as it comes where a program reads it or it comes slowly, else folded at the end.

    Args:
        progress: Says who is waited for while hosts are looked at.
        as_json: Whether a program reads it.
        slowly: Whether hosts have their turns.

    Attributes:
        progress: Says it while they are looked at, and then while they are changed.
    """

    def __init__(self, progress: Progress, *, as_json: bool, slowly: bool) -> None:
        self.progress = progress
        self._as_json = as_json
        self._slowly = slowly
        self._lines: dict[str, list[Line]] = {}
        self._statuses: dict[str, int] = {}
        self._owed: Counter[str] = Counter()
        self._carrying: Carrying | None = None

    @property
    def status(self) -> int:
        """The exit status: that of all hosts where they are alike, else that of a failure in part."""
        return status_of_all(list(self._statuses.values()) or [0])

    def planned(self, plans: Plans) -> None:
        """Take what could be found out of each host."""
        self._statuses = {
            host: steps.exit_status if isinstance(steps, RelaunchError) else 0 for host, steps in plans.items()
        }

    def begin(self, plans: Plans, carrying: Carrying, verbs: Collection[Verb]) -> None:
        """From now on hosts are changed; each step with one of these verbs will have a result."""
        self._carrying = carrying
        for host, steps in plans.items():
            owed = 0 if isinstance(steps, RelaunchError) else sum(step.verb in verbs for step in steps)
            if owed:
                self._owed[host] = owed
        self.progress = progress_of(self._owed)
        self.progress.begin()

    def took(self, result: Result) -> None:
        """Take the result of a step."""
        host = result.host
        self._owed[host] -= 1
        if not self._owed[host]:
            self.progress.took(name_of(host))
        if result.error is not None or result.state != "done":
            failed = result.error.exit_status if result.error else _FAILED
            self._statuses[host] = self._statuses.get(host) or failed
        self.progress.hold()
        if self._as_json:
            write(encode(_wire(result)) + "\n")
        elif self._slowly and result.state != "not begun":
            tell_folded({name_of(host): [_line(result)]})
        else:
            self._lines.setdefault(name_of(host), []).append(_line(result))
        self.progress.release()

    def interrupted(self) -> None:
        """Tell what is known when a signal has come."""
        self.progress.end()
        if self._carrying is None:
            say("interrupted before anything was begun; nothing was changed")
        else:
            self._carrying.end()
            self.end()

    def end(self) -> None:
        """Tell what has not been told."""
        self.progress.end()
        lines, self._lines = self._lines, {}
        tell_folded(lines)


def _line(result: Result) -> Line:
    step, error, host = result.step, result.error, result.host
    if result.state == "not begun":
        told = f"not begun: {step.verb} {step.label}"
        return failed_line(host, error, told) if error else Line(told, wrong=True)
    if result.state != "done" and error is not None:
        told = "unknown whether it was" if result.state == "unknown" else "not"
        is_about_it = error.message.startswith(f"{step.label} ")
        return failed_line(host, error, "" if is_about_it else f"{step.label}: {told} {_DONE[step.verb]}")
    job = result.job or {}
    words = f"{_DONE[step.verb]} {step.label}"
    folded = f"{words}, {job['state']}" if job else words
    if error is not None:
        return failed_line(host, error, words)
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
