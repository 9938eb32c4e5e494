"""What a job file holds, once it is read.

Knows how the words in braces are replaced. Refuses to know formats and keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from relaunch.errors import BadJobFile, BadSpec, Usage
from relaunch.model import JobSpec
from relaunch.placeholders import filled, words_of

if TYPE_CHECKING:
    from collections.abc import Callable

Wire = dict[str, Any]
_TEXTS = ("program", "cwd", "stdin", "stdout", "stderr")
_LISTS = ("argv", "watch_paths", "queue_directories")
_WHERE = "in a job with Hosts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One job of a file.

    Attributes:
        spec: As it is written; where there are ``hosts``, words such as ``{host}`` are still in it.
        hosts: Node sets as they are written; none is this host.
        disabled: Whether it is left out when the file is loaded.
        place: Where it stands, for messages.
    """

    spec: JobSpec
    hosts: tuple[str, ...] = ()
    disabled: bool = False
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFile:
    """A job file.

    Attributes:
        path: As it was given.
        entries: Its jobs, in their order.
        warnings: What it says that means nothing here, each with its place.
        slips: Those of the warnings that are of a key which looks like a known one; none of a property list, since
            launchd's are full of keys that mean nothing here.
        name: Of the cluster that it describes: what it says itself, else the file's name without its end.
    """

    path: str
    entries: tuple[Entry, ...]
    warnings: tuple[str, ...] = ()
    slips: tuple[str, ...] = ()
    name: str = ""


def replace_words(entry: Entry, host: str, index: int, hosts: Sequence[str]) -> JobSpec:
    """The spec of a job as it is meant for one host.

    The words stand for something in the program and its arguments, in the environment, in paths, in Ready and Sockets.

    Args:
        entry: A job with ``hosts``.
        host: One of the hosts.
        index: Its number among them, from 1.
        hosts: All of them.

    Raises:
        BadJobFile: There is no such word, a brace stands alone, or what comes of it is no spec.
    """
    try:
        return _filled(entry, host, index, hosts)
    except BadSpec as error:
        raise BadJobFile(f"{entry.place}: on {host}: {error}") from None
    except BadWord as error:
        raise BadJobFile(f"{entry.place}: {error}") from None


class BadWord(Exception):
    """A word in braces stands for nothing.

    Attributes:
        fields: Of the spec, which lead to where it is.
    """

    def __init__(self, fields: Sequence[str], why: object) -> None:
        super().__init__(str(why))
        self.fields = fields


def check_words(entry: Entry) -> None:
    """Find words that stand for nothing, whatever the others stand for.

    Raises:
        BadWord: There is one.
        BadSpec: With names for words, it is no spec.
    """
    _filled(entry, "HOST", 1, ["HOST"])


def _filled(entry: Entry, host: str, index: int, hosts: Sequence[str]) -> JobSpec:
    words = words_of(host, index, hosts)

    def fill(text: str, *fields: str) -> str:
        try:
            return filled(text, words, _WHERE)
        except Usage as error:
            raise BadWord(fields, error) from None

    return JobSpec.from_wire(_replaced(entry.spec.to_wire(), fill))


def _replaced(wire: Wire, fill: Callable[..., str]) -> Wire:
    for name in _TEXTS:
        if name in wire:
            wire[name] = fill(wire[name], name)
    for name in _LISTS:
        if name in wire:
            wire[name] = [fill(text, name) for text in wire[name]]
    if "env" in wire:
        wire["env"] = {name: fill(text, "env", name) for name, text in wire["env"].items()}
    keep = wire.get("keep_alive_when", {})
    if "paths" in keep:
        keep["paths"] = {fill(path, "keep_alive_when"): there for path, there in keep["paths"].items()}
    ready = wire.get("ready", {})
    for name in ("host", "log_line"):
        if name in ready:
            ready[name] = fill(ready[name], "ready", name)
    if "command" in ready:
        ready["command"] = [fill(text, "ready", "command") for text in ready["command"]]
    for socket_name, sockets in wire.get("sockets", {}).items():
        for socket in sockets:
            socket.update(
                {name: fill(socket[name], "sockets", socket_name) for name in ("path", "host") if name in socket}
            )
    return wire
