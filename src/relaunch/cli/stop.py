"""``launch stop``: ends jobs, with everything they have started.

Knows whether an end was this stop's. Refuses to know which processes a job has.
"""

from __future__ import annotations

import time

from relaunch.cli.outcomes import tell, told
from relaunch.client.calls import stop
from relaunch.client.quick import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from relaunch.cli.grammar import Arguments
    from relaunch.cli.over import Over

    Wire = dict[str, Any]


def run(arguments: Arguments) -> int:
    """Stop jobs and say how each ended."""
    return stop_and_tell(arguments, arguments["signal"], arguments["timeout"])


def stop_and_tell(arguments: Arguments, signal: str | None, timeout_s: float | None) -> int:
    """Stop jobs and say how each ended; a job that had ended before is no failure."""
    asked_at = time.time()
    return tell(
        Client().call(stop(arguments["patterns"], signal, timeout_s)),
        _done(lambda ended: ended.get("at", asked_at) >= asked_at),
        as_json=arguments["json"],
    )


def run_over(over: Over, arguments: Arguments) -> int:
    """Stop jobs on many hosts and say how each ended."""
    return stop_over(over, arguments, arguments["signal"], arguments["timeout"])


def stop_over(over: Over, arguments: Arguments, signal: str | None, timeout_s: float | None) -> int:
    """Stop jobs on many hosts and say how each ended."""
    from relaunch.cli.many import request
    from relaunch.cli.results import Results

    # The clocks of hosts differ.
    done = _done(lambda ended: ended.get("reason") == "stopped")
    results = Results(over, lambda host, outcomes: told(host, outcomes, done), as_json=arguments["json"])
    return request(over, arguments, lambda its: stop(its["patterns"], signal, timeout_s), results)


def _done(was_stopped: Callable[[Wire], bool]) -> Callable[[Wire], str]:
    """What to say of a job that has ended: that it was stopped, or that it had ended before."""

    def done(outcome: Wire) -> str:
        if outcome.get("cancelled"):
            return "stopped (its next start is cancelled)"
        ended = outcome["job"].get("exit") or {}
        how = ended.get("signal") or (f"code {ended['code']}" if ended.get("code") is not None else ended.get("reason"))
        return f"stopped ({how})" if was_stopped(ended) else f"had finished before ({how})"

    return done
