"""What became of each label of a request for many: a line for each, and the exit status of all.

Knows the interface's Outcome. Refuses to know which request it was.
"""

from __future__ import annotations

from relaunch.cli.output import say, write
from relaunch.errors import NoSuchLabel, from_wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from relaunch.cli.results import Told

    Wire = dict[str, Any]


def tell(outcomes: Sequence[Wire], done: Callable[[Wire], str], *, as_json: bool = False) -> int:
    """Say what became of each label.

    Args:
        outcomes: As they came over the wire.
        done: What to say of an outcome where it went well.
        as_json: Whether a program reads it, and gets them as they are.

    Returns:
        0, or the exit status of the first that did not go well.
    """
    status, lines, refusals = 0, [], []
    for outcome in outcomes:
        label, error = outcome["label"], outcome.get("error")
        if error is None:
            lines.append(f"{label}: {done(outcome)}\n")
            continue
        refused = from_wire(error, {"message": outcome.get("message")})
        message = refused.message
        if isinstance(refused, NoSuchLabel):
            from relaunch.cli.hints import hint

            message += hint(refused, {"patterns": [label]})
        refusals.append(message if label in message else f"{label}: {message}")
        status = status or refused.exit_status
    if as_json:
        from relaunch.client.quick import encode_array

        write(encode_array(outcomes))
        return status
    write("".join(lines))
    for refusal in refusals:
        say(refusal)
    return status


def told(host: str, outcomes: Iterable[Wire], done: Callable[[Wire], str]) -> Told:
    """What is to be told of one of many hosts; the words for a job are the same for all of them."""
    from relaunch.cli.results import Line, Told, failure_line

    status, lines = 0, []
    for outcome in outcomes:
        label, error = outcome["label"], outcome.get("error")
        if error is None:
            words, pid = done(outcome), outcome["job"].get("pid")
            # Each host has a pid of its own.
            lines.append(Line(f"{label}: {words}", f"{label}: {words.replace(f', pid {pid}', '')}"))
            continue
        refused = from_wire(error, {"message": outcome.get("message")})
        lines.append(failure_line(host, refused, label))
        status = status or refused.exit_status
    return Told(lines, status)
