"""What is written once and means something else on each host: ``{host}``, ``{index}``, ``{count}``, ``{hosts}``.

Knows which words there are and how a brace is written. Refuses to know what the texts are for.
"""

from __future__ import annotations

from relaunch.errors import Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def words_of(host: str, index: int, hosts: Sequence[str]) -> dict[str, str]:
    """What the words stand for on one host.

    Args:
        host: Its name.
        index: Its number among ``hosts``, from 1.
        hosts: All of them.
    """
    return {"host": host, "index": str(index), "count": str(len(hosts)), "hosts": ",".join(hosts)}


def filled(text: str, words: dict[str, str], where: str) -> str:
    """The text with what its words stand for.

    Args:
        text: With words in braces, and braces that are meant as such written twice.
        words: What each stands for.
        where: Where that is so, for the error: ``with -H``.

    Raises:
        Usage: There is no such word, or a brace stands alone.
    """
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
                    f"{text!r}: {where}, {{host}}, {{index}}, {{count}} and {{hosts}} stand for something and "
                    f"{'{' + word + end!r} does not; write {{{{ and }}}} for braces"
                )
            done, rest = done + words[word], after
        elif rest[0] == "}":
            raise Usage(f"{text!r}: {where}, a brace that is meant as one is written twice, {{{{ or }}}}")
        else:
            ends = [end for end in (rest.find("{"), rest.find("}")) if end >= 0]
            end_at = min(ends, default=len(rest))
            done, rest = done + rest[:end_at], rest[end_at:]
    return done
