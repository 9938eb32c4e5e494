"""``launch signal``: sends a signal to jobs."""

from __future__ import annotations

from relaunch.cli.outcomes import tell
from relaunch.client.calls import send_signal
from relaunch.client.quick import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments


def run(arguments: Arguments) -> int:
    """Send a signal to each job's own process."""
    signal = arguments["signal"]
    return tell(Client().call(send_signal(arguments["patterns"], signal)), lambda _job: f"{signal} sent")
