"""What stands before the command: the hosts that it is for, and how they are asked.

Knows which commands are for hosts, and where hosts come from that are not typed. Refuses to know what any command does.
"""

from __future__ import annotations

import os

from relaunch.cli.grammar import BY_NAME, GLOBAL, HOSTS_VARIABLE
from relaunch.client.calls import FANOUT
from relaunch.errors import Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from relaunch.cli.grammar import Arguments, Command, Option

_OWN_FLAG = "-H"
_NOT_FOR_HOSTS = ("bridge", "completion", "connections", "doctor", "load", "save", "schema", "version")
# Their files say which hosts they are for; what is not typed is not to take any of those away.
_BY_FILES = ("apply", "diff")
_SEE = "see: launch --help"


class Over:
    """The hosts of a command.

    Attributes:
        hosts: Each once, in the order in which they are numbered; at least one.
        fanout: How many are dealt with at a time.
        timeout_s: What was asked for; None where nothing was.
    """

    __slots__ = ("fanout", "hosts", "timeout_s")

    def __init__(self, hosts: list[str], fanout: int = FANOUT, timeout_s: float | None = None) -> None:
        self.hosts = hosts
        self.fanout = fanout
        self.timeout_s = timeout_s

    @property
    def prompts(self) -> bool:
        """Whether ssh may ask a person: where there is one host, and a terminal."""
        return len(self.hosts) == 1 and os.isatty(0) and os.isatty(2)


def take_hosts(typed: Sequence[str]) -> tuple[Over | None, Sequence[str]]:
    """Part what stands before the command from the rest.

    Returns:
        None where the command is for this host; and what is typed from the command on. A command that has a ``-H`` of
        its own gets the hosts there.

    Raises:
        Usage: An option is wrong, or the command is for no hosts.
        BadHost: One of the hosts has an impossible name.
    """
    given, rest = _given(typed)
    command = BY_NAME.get(rest[0]) if rest else None
    if command is not None and _OWN_FLAG in command.flags:
        return None, _with_own_hosts(command, given, rest)
    if given["hosts"]:
        if command is not None and command.name in _NOT_FOR_HOSTS:
            raise Usage(f"{command.name} is not for hosts; leave out {_OWN_FLAG}; {_SEE}")
        option, texts = _OWN_FLAG, given["hosts"]
    elif command is None or command.name in _NOT_FOR_HOSTS + _BY_FILES or not os.environ.get(HOSTS_VARIABLE):
        here = ("timeout",) if command is not None and command.name not in _NOT_FOR_HOSTS else ()
        for name in ("fanout", "timeout"):
            if given[name] is not None and name not in here:
                raise Usage(f"--{name} means nothing without {_OWN_FLAG}; {_SEE}")
        if given["timeout"] is not None:
            from relaunch.client.quick import Client

            Client.answer_s = given["timeout"]
        return None, rest
    else:
        option, texts = HOSTS_VARIABLE, [os.environ[HOSTS_VARIABLE]]
    if not rest:
        raise Usage(f"a command is missing; {_SEE}")
    asks_for_help = command is None or _asks_for_help(command, rest[1:])
    if asks_for_help and not given["hosts"]:
        return None, rest
    from relaunch.client.nodesets import expand

    hosts = expand(texts, option)
    if asks_for_help:
        return None, rest
    return Over(hosts, given["fanout"] or FANOUT, given["timeout"]), rest


def own_hosts(arguments: Arguments) -> list[str]:
    """The hosts that a command with a ``-H`` of its own is for; none where it is this one.

    Raises:
        Usage: They are no set of hosts.
        BadHost: One of the hosts has an impossible name.
    """
    option, texts = _OWN_FLAG, arguments["hosts"]
    if not texts:
        option, texts = HOSTS_VARIABLE, list(filter(None, [os.environ.get(HOSTS_VARIABLE)]))
    if not texts:
        return []
    from relaunch.client.nodesets import expand

    return expand(texts, option)


def _asks_for_help(command: Command, words: Sequence[str]) -> bool:
    from relaunch.cli.grammar import split_program

    return not {"-h", "--help"}.isdisjoint(split_program(command, words)[0])


def _given(typed: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    given, rest = GLOBAL.defaults(), list(typed)
    while rest and rest[0].startswith("-"):
        flag, equals, value = rest[0].partition("=")
        option = GLOBAL.flags.get(flag)
        if option is None and rest[0].startswith(_OWN_FLAG):
            flag, equals, value = _OWN_FLAG, "=", rest[0].removeprefix(_OWN_FLAG)
            option = GLOBAL.flags[flag]
        if option is None:
            break
        del rest[0]
        if not equals:
            if not rest or rest[0].startswith("-"):
                raise Usage(f"{flag} needs {option.metavar} after it; {_SEE}")
            value = rest.pop(0)
        read = _read(flag, option, value)
        if option.repeats:
            given[option.dest].append(read)
        else:
            given[option.dest] = read
    return given, rest


def _read(flag: str, option: Option, value: str) -> object:
    try:
        return option.read(value)
    except ValueError as error:
        raise Usage(f"{flag}: {error}; {_SEE}") from None


def _with_own_hosts(command: Command, given: dict[str, Any], rest: list[str]) -> list[str]:
    """The line with what stood before the command behind it, where the command has options for that."""
    more: list[str] = []
    for text in given["hosts"]:
        if not text:
            raise Usage(f"{_OWN_FLAG} '' names no host")
        more += [_OWN_FLAG, text]
    for name in ("fanout", "timeout"):
        if given[name] is not None:
            if f"--{name}" not in command.flags or name == "timeout":
                raise Usage(f"--{name} means nothing before {command.name}; see: launch {command.name} --help")
            more += [f"--{name}", str(given[name])]
    return [rest[0], *more, *rest[1:]]
