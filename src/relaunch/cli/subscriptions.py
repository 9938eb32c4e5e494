"""``launch subscriptions``: to whom the launcher delivers events.

Refuses to know how a table looks (``render``).
"""

from __future__ import annotations

from relaunch.cli.output import write
from relaunch.client.calls import subscriptions
from relaunch.client.quick import Client, encode_array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from relaunch.cli.grammar import Arguments
    from relaunch.cli.over import Over

    Wire = dict[str, Any]


def run(arguments: Arguments) -> int:
    """List subscriptions."""
    found = Client().call(subscriptions())
    if arguments["json"]:
        write(encode_array(found))
    else:
        from relaunch.cli.render import subscriptions_table

        write(subscriptions_table(found))
    return 0


def run_over(over: Over, arguments: Arguments) -> int:
    """List the subscriptions of many hosts, in one table."""
    from relaunch.cli.many import request
    from relaunch.cli.results import Results, Told

    results = Results(over, lambda _host, _found: Told(), show=_shown, as_json=arguments["json"])
    return request(over, arguments, lambda _its: subscriptions(), results)


def _shown(found_of: dict[str, list[Wire]]) -> str:
    from relaunch.cli.render import subscriptions_table

    rows = [(host, one) for host, found in found_of.items() for one in found]
    return subscriptions_table([one for _, one in rows], hosts=[host for host, _ in rows])
