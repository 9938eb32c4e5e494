"""``launch completion``: a completion script, made by shtab from the whole parser; labels are asked of the launcher.

Knows what a shell offers for each kind of word. Refuses to write a shell's completion language beyond that.
"""

from __future__ import annotations

import argparse
import signal

import shtab

from relaunch.cli.output import write
from relaunch.cli.parser import whole_parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from relaunch.cli.grammar import Arguments

# The first column under the head of the table is a label, and holds no blank.
_ASK = "env LAUNCH_HOSTS= launch list 2>/dev/null | sed '1d;s/ .*//'"
_LABELS = {
    "bash": "_launch_labels",
    "zsh": "_launch_labels",
    "fish": "(_launch_labels)",
    "preamble": {
        "bash": f'_launch_labels() {{ compgen -W "$({_ASK})" -- "$1"; }}',
        "zsh": f'_launch_labels() {{ local -a labels; labels=(${{(f)"$({_ASK})"}}); compadd -a labels; }}',
        "fish": f"function _launch_labels\n  {_ASK}\nend",
    },
}
_SIGNALS = sorted(name.removeprefix("SIG") for name in signal.Signals.__members__ if "RTM" not in name)


def run(arguments: Arguments) -> int:
    """Print the script for a shell."""
    write(script(arguments["shell"]))
    return 0


def script(shell: str) -> str:
    """The completion script for bash, zsh or fish."""
    parser = whole_parser()
    for action in _actions(parser):
        completes: Any = getattr(action, "complete", "")
        if completes == "signal":
            action.choices = _SIGNALS
        if completes in ("", "signal"):
            if hasattr(action, "complete"):
                del action.complete
        else:
            kinds: dict[str, Any] = {"label": _LABELS, "file": shtab.FILE, "directory": shtab.DIRECTORY}
            action.complete = kinds[completes]  # type: ignore[attr-defined]  # shtab reads it
    text: str = shtab.complete(parser, shell)
    return text if text.endswith("\n") else text + "\n"


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:  # noqa: SLF001 - shtab itself reads it; there is no public way
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - likewise
            for child in action.choices.values():
                yield from _actions(child)
