"""``launch events``: what has happened to jobs, from the journal."""

from __future__ import annotations

import time

from relaunch.cli.output import write
from relaunch.cli.render import command_line, length
from relaunch.client.calls import events
from relaunch.client.quick import Client, encode
from relaunch.errors import NoLauncher, OutcomeUnknown, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from relaunch.cli.grammar import Arguments

    Wire = dict[str, Any]

_FOLLOW_COUNT = 10
_AGAIN_S = 0.05
_SEQUENCE_DIGITS_MAX = 19
_ROUNDING_S = 1e-6
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_TYPE_PREFIX = "io.relaunch."


def run(arguments: Arguments) -> int:
    """Show events; with follow until interrupted, over the launcher's replacements too."""
    follow, count = arguments["follow"], arguments["count"]
    since, since_at = parse_since(arguments["since"], time.time())
    if follow and count is None and arguments["since"] is None:
        count = _FOLLOW_COUNT
    show = _json_line if arguments["json"] else _line
    client, in_order = Client(), False
    while True:
        try:
            call = events(arguments["patterns"], since=since, since_at=since_at, count=count, follow=follow)
            for batch in client.stream(call):
                if not batch:  # the last reply, which may be empty
                    continue
                write("".join(map(show, batch)))
                since, since_at, count = _after(batch[-1]), None, None
                in_order = False
            in_order = True
            if not follow:
                return 0
        except OutcomeUnknown:
            if not follow:
                raise
        # The launcher has ended or is being replaced; in the second case the next one answers.
        time.sleep(_AGAIN_S)
        try:
            client = Client()
        except NoLauncher:
            if in_order:
                return 0
            raise


def _after(event: Wire) -> int:
    """The sequence of an event, to go on after it."""
    return int(event["id"].rpartition("/")[2])


def parse_since(given: str | None, now: float) -> tuple[int | None, float | None]:
    """A sequence number, or a time in seconds since the epoch.

    Args:
        given: Digits alone are a sequence number; ``10m`` and the like are that long ago; else an ISO 8601 time, local
            where it says no zone.
        now: Seconds since the epoch.

    Raises:
        Usage: None of these.
    """
    if given is None:
        return None, None
    digits = given[:-1]
    if given.isascii() and given.isdecimal() and len(given) < _SEQUENCE_DIGITS_MAX:
        return int(given), None
    if digits.isascii() and digits.isdecimal() and given[-1] in _UNITS_S:
        return None, now - int(digits) * _UNITS_S[given[-1]]
    import datetime as dt

    try:
        # An event's time is shown rounded to a microsecond, which may be later than it was.
        return None, dt.datetime.fromisoformat(given).timestamp() - _ROUNDING_S
    except (ValueError, OverflowError):
        raise Usage(
            f"events: --since {given!r} is no sequence number, no time ago such as 10m, 2h or 1d, and no ISO 8601 time"
        ) from None


def _json_line(event: Wire) -> str:
    return encode(event) + "\n"


def _line(event: Wire) -> str:
    data = event.get("data") or {}
    sequence = str(_after(event))
    kind = event["type"].removeprefix(_TYPE_PREFIX)
    words = [_local(event["time"]), sequence.rjust(6), kind, event.get("subject") or "", _details(data)]
    return "  ".join(filter(None, words)) + "\n"


def _local(when: str) -> str:
    """The time on the clock of the one who reads; as it came where it cannot be read."""
    import datetime as dt

    try:
        return dt.datetime.fromisoformat(when).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    except ValueError:
        return when


def _details(data: Wire) -> str:
    words = []
    if data.get("pid"):
        words.append(f"pid {data['pid']}")
    forms = {"reason": "{}", "code": "code {}", "signal": "signal {}", "message": "{}", "why": "{}"}
    for name, form in forms.items():
        if data.get(name) is not None:
            words.append(form.format(data[name]))
    if data.get("restart_in_s") is not None:
        words.append(f"starts again in {length(data['restart_in_s'])}" if data["restart_in_s"] else "starts again")
    if data.get("argv") and not data.keys() & {"reason", "why"}:
        words.append(command_line(data["argv"]))
    return ", ".join(words)
