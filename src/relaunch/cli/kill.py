"""``launch kill``: ends jobs at once, with everything they have started.

It is a stop that begins with KILL. Refuses to know how an end is told (``stop``).
"""

from __future__ import annotations

from relaunch.cli.stop import stop_and_tell, stop_over

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments
    from relaunch.cli.over import Over


def run(arguments: Arguments) -> int:
    """Send KILL to whole trees and say how each ended."""
    return stop_and_tell(arguments, "KILL", None)


def run_over(over: Over, arguments: Arguments) -> int:
    """Send KILL to whole trees on many hosts, and say how each ended."""
    return stop_over(over, arguments, "KILL", None)
