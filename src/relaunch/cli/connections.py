"""``launch connections``: the ssh connections to other hosts that stay, and their end.

Refuses to know how one is made and kept (``relaunch.client.masters``).
"""

from __future__ import annotations

import asyncio

from relaunch.cli.interruption import be_quiet
from relaunch.cli.output import write
from relaunch.cli.render import length, table
from relaunch.client.masters import close_all, connections
from relaunch.client.quick import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments
    from relaunch.client.masters import OpenConnection

_HEAD = ("HOST", "PID", "AGE", "REQUESTS GO")
_WAYS = {"forward": "through a forwarded socket", "bridge": "over launch bridge", None: "-"}


def run(arguments: Arguments) -> int:
    """List them, or end them."""
    if arguments["close"]:
        be_quiet()
        closed = asyncio.run(close_all())
        write(encode(closed) + "\n" if arguments["json"] else "".join(f"{host or '-'}: closed\n" for host in closed))
        return 0
    found = connections()
    if arguments["json"]:
        write("[" + ",\n ".join(encode(_wire(one)) for one in found) + "]\n")
    else:
        write(table(_HEAD, [_row(one) for one in found]))
    return 0


def _wire(one: OpenConnection) -> dict[str, object]:
    return {"host": one.host, "pid": one.pid, "age_s": round(one.age_s, 3), "how": one.how}


def _row(one: OpenConnection) -> tuple[str, ...]:
    return one.host or "-", str(one.pid or "-"), length(one.age_s), _WAYS[one.how]
