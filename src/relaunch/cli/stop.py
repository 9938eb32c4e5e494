"""``launch stop``: ends jobs, with everything they have started."""

from __future__ import annotations

import time

from relaunch.cli.outcomes import tell
from relaunch.client.calls import stop
from relaunch.client.quick import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from relaunch.cli.grammar import Arguments


def run(arguments: Arguments) -> int:
    """Stop jobs and say how each ended."""
    return stop_and_tell(arguments["patterns"], arguments["signal"], arguments["timeout"])


def stop_and_tell(patterns: Sequence[str], signal: str | None, timeout_s: float | None) -> int:
    """Stop jobs and say how each ended; a job that had ended before is no failure."""
    asked_at = time.time()

    def done(job: dict[str, Any]) -> str:
        ended = job.get("exit") or {}
        how = ended.get("signal") or (f"code {ended['code']}" if ended.get("code") is not None else ended.get("reason"))
        return f"stopped ({how})" if ended.get("at", asked_at) >= asked_at else f"had finished before ({how})"

    return tell(Client().call(stop(patterns, signal, timeout_s)), done)
