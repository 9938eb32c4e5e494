"""``launch logs``: a job's output, byte for byte."""

from __future__ import annotations

from binascii import a2b_base64

from relaunch.cli.output import write_bytes
from relaunch.client.calls import logs
from relaunch.client.quick import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments


def run(arguments: Arguments) -> int:
    """Show a job's output."""
    for piece in Client().stream(logs(arguments["label"], arguments["lines"], follow=arguments["follow"])):
        write_bytes(a2b_base64(piece))
    return 0
