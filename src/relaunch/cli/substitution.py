"""What is typed once and means something else on each host: ``{host}``, ``{index}``, ``{count}``, ``{hosts}``.

Knows where on the command line these may stand. Refuses to know what they stand for.
"""

from __future__ import annotations

from relaunch.cli.grammar import PROGRAM
from relaunch.placeholders import filled, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from relaunch.cli.grammar import Arguments

_TEXTS = ("label", "cwd", "stdin", "stdout", "stderr", "ready_command", "ready_log")
_LISTS = (PROGRAM, "patterns")
_WHERE = "with -H"


def substituted(arguments: Arguments, hosts: Sequence[str], number: int) -> Arguments:
    """The arguments as they are meant for one host.

    Args:
        arguments: As typed.
        hosts: All of them.
        number: Which of them, from 0.

    Raises:
        Usage: There is no such word, or a brace stands alone.
    """
    words = words_of(hosts[number], number + 1, hosts)
    made = dict(arguments)
    for name in _TEXTS:
        if made.get(name) is not None:
            made[name] = filled(made[name], words, _WHERE)
    for name in _LISTS:
        if made.get(name):
            made[name] = [filled(text, words, _WHERE) for text in made[name]]
    if made.get("env"):
        made["env"] = [(name, filled(value, words, _WHERE)) for name, value in made["env"]]
    return made
