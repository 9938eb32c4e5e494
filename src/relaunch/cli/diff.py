"""``launch diff``: how far a cluster is from what its job files say. Refuses to know how a plan comes about."""

from __future__ import annotations

from relaunch.applying.looking import Plans
from relaunch.applying.wanted import Wish
from relaunch.cli.interruption import run_until_interrupted
from relaunch.cli.over import Over
from relaunch.cli.plans import hosts_of, look_at, progress_of, read_wish, show_plans
from relaunch.cli.results import status_of_all
from relaunch.errors import RelaunchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments

_DRIFT = 1
_SHOWN = ("start", "change", "stop", "leave")


def run(arguments: Arguments) -> int:
    """Show what ``apply`` would do, and what it would leave; the status is 1 where that is anything."""
    return _diff(arguments, None)


def run_over(over: Over, arguments: Arguments) -> int:
    """The same for some of the files' hosts."""
    return _diff(arguments, over)


def _diff(arguments: Arguments, over: Over | None) -> int:
    wish = read_wish(arguments, over, strangers=True)
    plans = run_until_interrupted(_look(arguments, over, wish))
    show_plans(plans, _SHOWN, as_json=arguments["json"])
    failed = [steps.exit_status for steps in plans.values() if isinstance(steps, RelaunchError)]
    if failed:
        return status_of_all(failed + [0] * (len(plans) > len(failed)))
    well = [steps for steps in plans.values() if not isinstance(steps, RelaunchError)]
    return _DRIFT if any(step.verb in _SHOWN for steps in well for step in steps) else 0


async def _look(arguments: Arguments, over: Over | None, wish: Wish) -> Plans:
    async with hosts_of(arguments, over, wish) as hosts:
        return await look_at(hosts, wish, progress_of(wish.hosts), prune=False)
