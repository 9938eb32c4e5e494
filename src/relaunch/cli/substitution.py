"""What is typed once and means something else on each host: ``{host}``, ``{index}``, ``{count}``, ``{hosts}``.

Knows where these may stand and how a brace is written. Refuses to know what the texts are for.
"""

from __future__ import annotations

from relaunch.cli.grammar import PROGRAM
from relaunch.errors import Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from relaunch.cli.grammar import Arguments

_TEXTS = ("label", "cwd", "stdin", "stdout", "stderr")
_LISTS = (PROGRAM, "patterns")


def substituted(arguments: Arguments, hosts: Sequence[str], number: int) -> Arguments:
    """The arguments as they are meant for one host.

    Args:
        arguments: As typed.
        hosts: All of them.
        number: Which of them, from 0.

    Raises:
        Usage: There is no such word, or a brace stands alone.
    """
    words = {"host": hosts[number], "index": str(number + 1), "count": str(len(hosts)), "hosts": ",".join(hosts)}
    made = dict(arguments)
    for name in _TEXTS:
        if made.get(name) is not None:
            made[name] = _filled(made[name], words)
    for name in _LISTS:
        if made.get(name):
            made[name] = [_filled(text, words) for text in made[name]]
    if made.get("env"):
        made["env"] = [(name, _filled(value, words)) for name, value in made["env"]]
    return made


def _filled(text: str, words: dict[str, str]) -> str:
    if "{" not in text and "}" not in text:
        return text
    done, rest = "", text
    while rest:
        if rest[:2] in ("{{", "}}"):
            done, rest = done + rest[0], rest[2:]
        elif rest[0] == "{":
            word, end, after = rest[1:].partition("}")
            if not end or word not in words:
                raise Usage(
                    f"{text!r}: with -H, {{host}}, {{index}}, {{count}} and {{hosts}} stand for something and "
                    f"{'{' + word + end!r} does not; write {{{{ and }}}} for braces"
                )
            done, rest = done + words[word], after
        elif rest[0] == "}":
            raise Usage(f"{text!r}: with -H, a brace that is meant as one is written twice, {{{{ or }}}}")
        else:
            ends = [end for end in (rest.find("{"), rest.find("}")) if end >= 0]
            end_at = min(ends, default=len(rest))
            done, rest = done + rest[:end_at], rest[end_at:]
    return done
