"""What may have been meant where a launcher refuses, for the end of the line that says so.

Knows slips of the hand. Refuses to know what any command does; only what went wrong brings this module in.
"""

from __future__ import annotations

from relaunch.errors import BadLabel, BadPattern, NoSuchLabel, RelaunchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from relaunch.cli.grammar import Arguments

_GLOB = frozenset("*?[")


def hint(error: RelaunchError, arguments: Arguments) -> str:
    """What to add to the error of a command for this host's launcher; empty where nothing comes to mind."""
    texts = list(_texts(arguments))
    if isinstance(error, BadLabel | BadPattern | NoSuchLabel):
        from relaunch.placeholders import words_of

        word = next((f"{{{word}}}" for word in words_of("", 0, ()) if any(f"{{{word}}}" in text for text in texts)), "")
        if word:
            return f"; {word} stands for something only with -H HOSTS before the command"
    if isinstance(error, NoSuchLabel):
        near = _near([text for text in texts if _GLOB.isdisjoint(text)])
        return f"; did you mean {' '.join(near)}?" if near else ""
    return ""


def _texts(arguments: Arguments) -> Iterator[str]:
    yield from arguments.get("patterns") or ()
    if arguments.get("label"):
        yield arguments["label"]


def _near(unknown: Sequence[str]) -> list[str]:
    """The labels that look most like those that nobody knows."""
    from difflib import get_close_matches

    from relaunch.client.calls import list_jobs
    from relaunch.client.quick import Client

    try:
        labels = [job["label"] for job in Client().call(list_jobs())]
    except RelaunchError:
        return []
    found = [get_close_matches(text, labels, 1) for text in unknown if text not in labels]
    return list(dict.fromkeys(label for near in found for label in near))
