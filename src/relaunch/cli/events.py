"""``launch events``: what has happened to jobs, from the journal."""

from __future__ import annotations

import time

from relaunch.cli.output import write
from relaunch.cli.render import plain
from relaunch.cli.since import parse_since
from relaunch.cli.telling import details, local_time
from relaunch.client.follow import AGAIN_S, Place, place_of
from relaunch.client.quick import Client, encode
from relaunch.errors import NoLauncher, OutcomeUnknown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from relaunch.cli.grammar import Arguments

    Wire = dict[str, Any]

_FOLLOW_COUNT = 10
_TYPE_PREFIX = "io.relaunch."


def run(arguments: Arguments) -> int:
    """Show events; with follow until interrupted, over the launcher's replacements too."""
    follow, count = arguments["follow"], arguments["count"]
    since, since_at = parse_since("events", arguments["since"], time.time())
    if follow and count is None and arguments["since"] is None:
        count = _FOLLOW_COUNT
    show = _json_line if arguments["json"] else _line
    place = Place(arguments["patterns"], since=since, since_at=since_at, count=count)
    client = Client()
    while True:
        try:
            for batch in client.stream(place.call(follow=follow)):
                if not batch:  # the last reply, which may be empty
                    continue
                write("".join(map(show, batch)))
                place.came(batch[-1])
            place.ended()
            if not follow:
                return 0
        except OutcomeUnknown:
            if not follow:
                raise
        # The launcher has ended or is being replaced; in the second case the next one answers.
        time.sleep(AGAIN_S)
        try:
            client = Client()
        except NoLauncher:
            if place.in_order:
                return 0
            raise


def _json_line(event: Wire) -> str:
    return encode(event) + "\n"


def _line(event: Wire) -> str:
    data = event.get("data") or {}
    sequence = str(place_of(event)[1])
    kind = event["type"].removeprefix(_TYPE_PREFIX)
    words = [local_time(event["time"]), sequence.rjust(6), kind, event.get("subject") or "", details(data)]
    return plain("  ".join(filter(None, words))) + "\n"
