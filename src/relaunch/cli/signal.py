"""``launch signal``: sends a signal to jobs.

Refuses to know processes: the launcher finds each job's own.
"""

from __future__ import annotations

from relaunch.cli.outcomes import tell, told
from relaunch.client.calls import send_signal
from relaunch.client.quick import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments
    from relaunch.cli.over import Over


def run(arguments: Arguments) -> int:
    """Send a signal to each job's own process."""
    signal = arguments["signal"]
    outcomes = Client().call(send_signal(arguments["patterns"], signal))
    return tell(outcomes, lambda _outcome: f"{signal} sent", as_json=arguments["json"])


def run_over(over: Over, arguments: Arguments) -> int:
    """Send a signal to each job's own process, on many hosts."""
    from relaunch.cli.many import request
    from relaunch.cli.results import Results

    signal = arguments["signal"]
    results = Results(
        over, lambda host, outcomes: told(host, outcomes, lambda _outcome: f"{signal} sent"), as_json=arguments["json"]
    )
    return request(over, arguments, lambda its: send_signal(its["patterns"], signal), results)
