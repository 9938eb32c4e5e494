"""``launch kill``: ends jobs at once, with everything they have started."""

from __future__ import annotations

from relaunch.cli.stop import stop_and_tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments


def run(arguments: Arguments) -> int:
    """Send KILL to whole trees and say how each ended."""
    return stop_and_tell(arguments["patterns"], "KILL", None)
