"""Which hosts are meant by what is typed: names, ClusterShell's node sets and groups, files; and back into few words.

The only home of ClusterShell. Importing that takes several times as long as a whole command over hosts that are
connected, so that names, and one pair of brackets in a name, are read here, exactly as ClusterShell reads them.
Refuses to know what is done with hosts.
"""

from __future__ import annotations

from relaunch.client.ssh_command import check_host
from relaunch.errors import Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HOSTS_MAX = 10_000
FILE_MARK = "^"
_FILE_CHARACTERS_MAX = 4 * 1024 * 1024
_OPERATORS = "!&^"
# What makes a part of the text more than a name; a user's name may stand before an "@".
_MORE = frozenset("[]*?%")
_DIGITS = frozenset("0123456789")
_NUMBER_DIGITS_MAX = 9
# ClusterShell takes no number in a name that is over 1e100.
_AFFIX_CHARACTERS_MAX = 90


def expand(texts: Iterable[str], option: str = "-H") -> list[str]:
    """The hosts, each once, in the order in which they are typed; those of one node set in ClusterShell's order.

    Args:
        texts: Each holds names, node sets, ``@GROUP`` or ``^FILE``, parted by commas or blanks.
        option: Where they were typed, for the line that says what is wrong.

    Raises:
        Usage: One is malformed, or there is no host in them.
        BadHost: One is a name that no host can have.
    """
    texts = list(texts)
    hosts: dict[str, None] = {}
    for text in texts:
        for host in _expand(text, option):
            hosts[host] = None
        if len(hosts) > HOSTS_MAX:
            raise _too_many(text, option)
    if not hosts:
        raise Usage(f"{option} {' '.join(texts)!r} names no host")
    return [check_host(host) for host in hosts]


def hosts_of(hosts: str | Iterable[str]) -> list[str]:
    """The hosts that a program names: one text is read as ``expand`` does, of many each is a host.

    Raises:
        Usage: The text is malformed, or names no host.
        BadHost: One is a name that no host can have.
    """
    if isinstance(hosts, str):
        return expand([hosts], "hosts")
    return [check_host(host) for host in dict.fromkeys(hosts)]


def _expand(text: str, option: str) -> Iterator[str]:
    parts = list(_parts(text, option))
    if any(operator in part.removeprefix(FILE_MARK) for part in parts for operator in _OPERATORS):
        # They are carried out from the left to the right, commas among them.
        yield from _asked_of_clustershell(text, option)
        return
    for part in parts:
        if part.startswith(FILE_MARK):
            yield from _from_file(part.removeprefix(FILE_MARK), option)
        elif not part.startswith("@") and (_MORE.isdisjoint(part) or _is_address(part)):
            yield part
        else:
            yield from _simple(part, option) or _asked_of_clustershell(part, option)


def _parts(text: str, option: str) -> Iterator[str]:
    """What stands between commas and blanks outside brackets."""
    depth, begin, comma = 0, 0, False
    for i, c in enumerate(f"{text} "):
        depth += (c == "[") - (c == "]")
        if (c == "," or c.isspace()) and (depth <= 0 or i == len(text)):
            if i > begin:
                yield text[begin:i]
                comma = False
            if c == ",":
                if comma or i == 0:
                    raise Usage(f"{option} {text!r}: a comma has nothing before it")
                comma = True
            begin = i + 1
    if comma:
        raise Usage(f"{option} {text!r}: a comma has nothing after it")


def _is_address(part: str) -> bool:
    """Whether brackets are those of an IPv6 address, as in ``ssh://[::1]:22``."""
    head, bracket, rest = part.partition("[")
    return ":" in rest.partition("]")[0] if bracket else "%" in head


def _from_file(path: str, option: str) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_FILE_CHARACTERS_MAX + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise Usage(f"{option} {FILE_MARK}{path}: the file cannot be read: {why}") from None
    if len(text) > _FILE_CHARACTERS_MAX:
        raise Usage(f"{option} {FILE_MARK}{path}: a file of hosts has at most {_FILE_CHARACTERS_MAX} characters")
    for line in text.splitlines():
        text = line.partition("#")[0]
        if text.lstrip().startswith(FILE_MARK):
            raise Usage(f"{option} {FILE_MARK}{path}: a file of hosts names no other file, as {text.strip()!r} does")
        yield from _expand(text, f"{option} {FILE_MARK}{path}:")


def _simple(part: str, option: str) -> list[str] | None:
    """The names that one pair of brackets stands for; None where ClusterShell is to say."""
    prefix, opened, rest = part.partition("[")
    body, closed, suffix = rest.partition("]")
    affixes = prefix + suffix
    if not (opened and closed and _MORE.isdisjoint(affixes)) or part.startswith("@"):
        return None
    # Digits beside brackets become part of the number.
    if prefix[-1:] in _DIGITS or suffix[:1] in _DIGITS or len(affixes) > _AFFIX_CHARACTERS_MAX:
        return None
    if not affixes.isascii():
        return None
    numbers: set[str] = set()
    for item in body.split(","):
        found = _range(item)
        if found is None:
            return None
        first, last, width = found
        if last - first >= HOSTS_MAX:
            raise _too_many(part, option)
        numbers.update(str(number).rjust(width, "0") for number in range(first, last + 1))
    return [f"{prefix}{number}{suffix}" for number in sorted(numbers, key=lambda number: (len(number), number))]


def _range(item: str) -> tuple[int, int, int] | None:
    """First, last, and to how many digits numbers are filled up; None where it is unusual or wrong."""
    begin, dash, end = item.partition("-")
    end = end if dash else begin
    for number in (begin, end):
        if not (0 < len(number) <= _NUMBER_DIGITS_MAX and _DIGITS.issuperset(number)):
            return None
    filled = any(len(number) > 1 and number[0] == "0" for number in (begin, end))
    if (filled and len(begin) != len(end)) or int(begin) > int(end):
        return None
    return int(begin), int(end), len(begin) if filled else 0


def _asked_of_clustershell(text: str, option: str) -> list[str]:
    from ClusterShell.NodeSet import NodeSet, NodeSetException
    from ClusterShell.NodeUtils import GroupResolverError, GroupSourceError

    _check_size(text, option)
    try:
        return list(NodeSet(text))
    except (NodeSetException, GroupResolverError, GroupSourceError, ValueError, OSError, RecursionError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise Usage(f"{option} {text!r} is no set of hosts: {why}") from None


def _check_size(text: str, option: str) -> None:
    """Refuse what would take all memory before it turned out to be too much."""
    import re

    for word in re.findall(r"(?:[^\[\],!&^\s]|\[[^\]]*\])+", text):
        size = 1
        for body in re.findall(r"\[([^\]]*)\]", word):
            ranges = (re.fullmatch(r"\s*(\d+)\s*-\s*(\d+)\s*(?:/.*)?", item) for item in body.split(","))
            size *= sum(abs(int(one[2]) - int(one[1])) + 1 if one else 1 for one in ranges)
        if size > HOSTS_MAX:
            raise _too_many(text, option)


def _too_many(text: str, option: str) -> Usage:
    return Usage(f"{option} {text!r} names more than {HOSTS_MAX} hosts")


def fold(hosts: Iterable[str]) -> str:
    """Hosts in few words, which ``expand`` reads: names that differ in their last number are one node set."""
    groups: dict[tuple[str, str, bool], list[str]] = {}
    for host in dict.fromkeys(hosts):
        prefix, number, suffix = _last_number(host)
        groups.setdefault((prefix, suffix, bool(number)), []).append(number)
    return ",".join(_folded(prefix, numbers, suffix) for (prefix, suffix, _), numbers in groups.items())


def _last_number(host: str) -> tuple[str, str, str]:
    """A name, parted at its last number; that is empty where there is none, or where folding would be misread."""
    end = len(host)
    while end and host[end - 1] not in _DIGITS:
        end -= 1
    begin = end
    while begin and host[begin - 1] in _DIGITS:
        begin -= 1
    if not 0 < end - begin <= _NUMBER_DIGITS_MAX or not _MORE.isdisjoint(host):
        return host, "", ""
    return host[:begin], host[begin:end], host[end:]


def _folded(prefix: str, numbers: list[str], suffix: str) -> str:
    if len(numbers) == 1:
        return prefix + numbers[0] + suffix
    runs: list[list[str]] = []
    for number in sorted(numbers, key=lambda number: (len(number), number)):
        if runs and _follows(number, *runs[-1]):
            runs[-1][1] = number
        else:
            runs.append([number, number])
    body = ",".join(first if first == last else f"{first}-{last}" for first, last in runs)
    return f"{prefix}[{body}]{suffix}"


def _follows(number: str, first: str, last: str) -> bool:
    if int(number) != int(last) + 1:
        return False
    return len(number) == len(first) or (number[0] != "0" and (first[0] != "0" or first == "0"))
