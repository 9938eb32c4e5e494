"""``launch restart``: stops jobs and starts them again."""

from __future__ import annotations

from relaunch.cli.outcomes import tell
from relaunch.cli.render import state
from relaunch.client.calls import restart
from relaunch.client.quick import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments


def run(arguments: Arguments) -> int:
    """Start jobs anew and say what each is."""
    return tell(Client().call(restart(arguments["patterns"])), state)
