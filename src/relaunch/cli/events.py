"""``launch events``: what has happened to jobs, from the journal.

Knows the line of an event. Refuses to know how journals of many hosts are put in order (``history``).
"""

from __future__ import annotations

import time

from relaunch.cli.output import wait_with_reader, write
from relaunch.cli.render import plain
from relaunch.cli.since import parse_since
from relaunch.cli.telling import details, local_time
from relaunch.client.follow import AGAIN_S, Place, place_of
from relaunch.client.quick import Client, encode
from relaunch.errors import NoLauncher, OutcomeUnknown, RelaunchError, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from relaunch.cli.grammar import Arguments
    from relaunch.cli.over import Over
    from relaunch.event import Event

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
            for batch in client.stream(place.call(follow=follow), wait_with_reader if follow else None):
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


def run_over(over: Over, arguments: Arguments) -> int:
    """Show events of many hosts in one stream, each with its host."""
    from relaunch.cli.history import follow, tell_past
    from relaunch.cli.results import json_line, say_failure, status_of_all, told_of_failure

    count = arguments["count"]
    since, since_at = parse_since("events", arguments["since"], time.time())
    if since is not None:
        raise Usage(f"events: --since {arguments['since']} is a sequence number, of one host's journal; give a time")

    def tell(host: str, what: Event | RelaunchError) -> None:
        if isinstance(what, RelaunchError):
            if arguments["json"]:
                write(json_line(host, what))
            else:
                say_failure(host, what)
        elif arguments["json"]:
            write(json_line(host, what.to_wire()))
        else:
            write(_line(what.to_wire(), host))

    if arguments["follow"]:
        if count is None and since_at is None:
            count = _FOLLOW_COUNT
        follow(over, arguments["patterns"], since_at, count, tell)
        return 0
    failures = tell_past(over, arguments["patterns"], since_at, count, tell)
    return status_of_all([told_of_failure(host, one).status if one else 0 for host, one in failures.items()])


def _json_line(event: Wire) -> str:
    return encode(event) + "\n"


def _line(event: Wire, host: str = "") -> str:
    data = event.get("data") or {}
    sequence = str(place_of(event)[1])
    kind = event["type"].removeprefix(_TYPE_PREFIX)
    words = [local_time(event["time"]), host, sequence.rjust(6), kind, event.get("subject") or "", details(data)]
    return plain("  ".join(filter(None, words))) + "\n"
