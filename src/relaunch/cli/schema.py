"""``launch schema``: the JSON Schema of job files.

Refuses to know any key (``relaunch.jobfile``).
"""

from __future__ import annotations

from relaunch.cli.output import write
from relaunch.jobfile.schema import schema_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments


def run(_arguments: Arguments) -> int:
    """Print it."""
    write(schema_text())
    return 0
