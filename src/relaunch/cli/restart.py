"""``launch restart``: stops jobs and starts them again.

Refuses to know which of them run: the launcher also starts those that have finished.
"""

from __future__ import annotations

from relaunch.cli.outcomes import tell, told
from relaunch.cli.render import state
from relaunch.client.calls import restart
from relaunch.client.quick import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from relaunch.cli.grammar import Arguments
    from relaunch.cli.over import Over

    Wire = dict[str, Any]


def run(arguments: Arguments) -> int:
    """Start jobs anew and say what each is."""
    return tell(Client().call(restart(arguments["patterns"])), _done, as_json=arguments["json"])


def run_over(over: Over, arguments: Arguments) -> int:
    """Start jobs anew on many hosts and say what each is."""
    from relaunch.cli.many import request
    from relaunch.cli.results import Results

    results = Results(over, lambda host, outcomes: told(host, outcomes, _done), as_json=arguments["json"])
    return request(over, arguments, lambda its: restart(its["patterns"]), results)


def _done(outcome: Wire) -> str:
    return state(outcome["job"])
