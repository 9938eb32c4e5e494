"""Labels and the patterns that choose among them.

Knows the alphabet of a label and the meaning of a glob. Refuses to know what a label names.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from relaunch.errors import BadLabel, BadPattern

LABEL_BYTES_MAX = 200
_LABEL = re.compile(r"[A-Za-z0-9_.@:+=~/-]+")
_GLOB = frozenset("*?[")


def check_label(label: object) -> str:
    """The label itself, if it is one.

    A label is 1 to 200 characters of letters, digits and ``. _ - @ : + = ~``, in parts parted by ``/``; no part is
    empty, ``.`` or ``..``; it does not begin with ``-``. So it is never a pattern, an option or a path that climbs.

    Raises:
        BadLabel: It is not; the line says why.
    """
    if not isinstance(label, str) or not label:
        raise BadLabel("a label must be a text of at least one character")
    if len(label) > LABEL_BYTES_MAX:
        raise BadLabel(f"label {label[:40]!r}... has {len(label)} characters; at most {LABEL_BYTES_MAX} are allowed")
    if not _LABEL.fullmatch(label):
        wrong = next(c for c in label if not _LABEL.fullmatch(c))
        raise BadLabel(f"label {label!r} holds {wrong!r}; allowed are letters, digits and . _ - @ : + = ~ /")
    if label.startswith("-"):
        raise BadLabel(f"label {label!r} begins with '-', as options do; put a letter first")
    if label.startswith("/"):
        raise BadLabel(f"label {label!r} begins with '/'; leave it out")
    if any(part in ("", ".", "..") for part in label.split("/")):
        raise BadLabel(f"label {label!r} has an empty, '.' or '..' part between slashes")
    return label


def is_pattern(text: str) -> bool:
    """Whether the text is a glob, rather than one label."""
    return not _GLOB.isdisjoint(text)


def no_such(pattern: str) -> str:
    """The line for a pattern that chooses nothing (W9)."""
    return f"no label matches {pattern!r}" if is_pattern(pattern) else f"no job has the label {pattern}"


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A predicate over labels for a glob.

    ``*`` is any run (``/`` too), ``?`` any one, ``[ab]``, ``[a-z]``, ``[!a]`` a set. A pattern without these
    characters matches exactly itself.

    Raises:
        BadPattern: Empty, an unclosed ``[``, an empty set or a reversed range.
    """
    if not pattern:
        raise BadPattern("an empty pattern matches nothing; use '*' for every label")
    if len(pattern) > LABEL_BYTES_MAX:
        raise BadPattern(f"pattern {pattern[:40]!r}... is longer than any label ({LABEL_BYTES_MAX})")
    runs, rest = [""], pattern
    while rest:
        head, rest = rest[0], rest[1:]
        if head == "*":
            runs.append("")
            rest = rest.lstrip("*")
        elif head == "?":
            runs[-1] += "."
        elif head == "[":
            piece, rest = _character_set(pattern, rest)
            runs[-1] += piece
        else:
            runs[-1] += re.escape(head)
    # What stands between two stars is taken where it is first found, and never again elsewhere (an atomic group): no
    # pattern takes time that grows with more than the product of both lengths.
    first, *middle = runs
    last = f".*{middle.pop()}" if middle else ""
    expression = re.compile(first + "".join(f"(?>.*?{run})" for run in middle) + last, re.DOTALL)
    return lambda label: expression.fullmatch(label) is not None


def _character_set(pattern: str, rest: str) -> tuple[str, str]:
    negated = rest[:1] == "!"
    rest = rest[negated:]
    end = rest.find("]", 1)
    if end < 0:
        raise BadPattern(f"pattern {pattern!r} opens a set with '[' and never closes it with ']'")
    members, rest = rest[:end], rest[end + 1 :]
    out, i = [], 0
    while i < len(members):
        if members[i + 1 : i + 2] == "-" and i + 2 < len(members):
            low, high = members[i], members[i + 2]
            if low > high:
                raise BadPattern(f"pattern {pattern!r} has the reversed range {low}-{high}")
            out.append(f"{re.escape(low)}-{re.escape(high)}")
            i += 3
        else:
            out.append(re.escape(members[i]))
            i += 1
    return f"[{'^' if negated else ''}{''.join(out)}]", rest


def select(patterns: Iterable[str], labels: Iterable[str]) -> tuple[list[str], list[str]]:
    """Which labels the patterns choose.

    Args:
        patterns: Labels or globs; none at all chooses every label.
        labels: The labels there are.

    Returns:
        The chosen labels in the order of ``labels``, each once; and the patterns that chose none.

    Raises:
        BadPattern: One of the patterns is malformed.
    """
    labels, patterns = list(labels), list(patterns)
    if not patterns:
        return labels, []
    tests = [(pattern, compile_pattern(pattern)) for pattern in patterns]
    chosen = [label for label in labels if any(test(label) for _, test in tests)]
    barren = [pattern for pattern, test in tests if not any(map(test, labels))]
    return chosen, barren
