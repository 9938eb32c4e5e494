"""``launch unsubscribe``: ends subscriptions.

Refuses to know how one is found: the launcher takes first digits and names.
"""

from __future__ import annotations

from relaunch.cli.output import write
from relaunch.client.calls import unsubscribe
from relaunch.client.quick import Client, encode_array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from relaunch.cli.grammar import Arguments
    from relaunch.cli.over import Over
    from relaunch.cli.results import Told


def run(arguments: Arguments) -> int:
    """End subscriptions, and name those that were."""
    ended = Client().call(unsubscribe(arguments["ids"]))
    write(encode_array(ended) if arguments["json"] else "".join(f"{one}: ended\n" for one in ended))
    return 0


def run_over(over: Over, arguments: Arguments) -> int:
    """End subscriptions on many hosts, and name those that were."""
    from relaunch.cli.many import request
    from relaunch.cli.results import Results

    results = Results(over, _told, as_json=arguments["json"])
    return request(over, arguments, lambda its: unsubscribe(its["ids"]), results)


def _told(_host: str, ended: Sequence[str]) -> Told:
    from relaunch.cli.results import Line, Told

    return Told([Line(f"{one}: ended") for one in ended])
