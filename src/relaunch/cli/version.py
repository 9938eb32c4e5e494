"""``launch version``: the version that is installed.

Refuses to know that of any launcher.
"""

from __future__ import annotations

from relaunch.cli.output import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments


def run(_arguments: Arguments) -> int:
    """Print the version."""
    import relaunch

    write(f"launch {relaunch.__version__}\n")
    return 0
