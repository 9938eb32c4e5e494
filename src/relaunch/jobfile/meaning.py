"""What keys mean that mean something together only, and the way back from a spec to such keys.

Knows the fields of a spec on the wire, and those that stand for keys until they are put together. Refuses to check
single values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relaunch.fields import INHERIT

if TYPE_CHECKING:
    from relaunch.jobfile.place import Place

Found = dict[str, Any]
BACKGROUND_NICE = 10


def finish_job(found: Found, place: Place) -> Found:
    """The fields of a spec, and beside them ``disabled``, ``hosts``, ``cluster`` and ``place``."""
    _executed(found)
    keep = found.pop("keep", False)
    if isinstance(keep, dict):
        found["keep_alive_when"] = keep
    elif keep:
        found["keep_alive"] = True
    soft, hard = found.pop("soft", {}), found.pop("hard", {})
    limits = {name: f"{soft.get(name, INHERIT)}:{hard.get(name, INHERIT)}" for name in {**soft, **hard}}
    if limits:
        found["limits"] = limits
    if found.pop("process_type", None) == "Background":
        found.setdefault("nice", BACKGROUND_NICE)
        found.setdefault("low_priority_io", True)
    return found | {"place": place}


def _executed(found: Found) -> None:
    """Settle what is executed, and what it is told, out of Program, ProgramArguments and ProgramArgs."""
    rest = found.pop("rest", None)
    if "argv" not in found:
        found["argv"] = [found.pop("program"), *(rest or [])]


def unfinish_job(fields: Found) -> Found:
    """The way back: what stands under which key."""
    if fields.pop("keep_alive", False):
        fields["keep"] = True
    if "keep_alive_when" in fields:
        fields["keep"] = fields.pop("keep_alive_when")
    soft: Found = {}
    hard: Found = {}
    for name, limit in fields.pop("limits", {}).items():
        low, _, high = limit.partition(":")
        if low != INHERIT or high == INHERIT:
            soft[name] = _bound(low)
        if high != INHERIT:
            hard[name] = _bound(high)
    return fields | {"soft": soft or None, "hard": hard or None}


def _bound(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def finish_socket(found: Found, place: Place) -> Found:
    """The fields of a socket: a service's name has become a number."""
    protocol = found.pop("protocol", None)
    found.pop("passive", None)
    if protocol == "UDP":
        found["kind"] = "dgram"
    port = found.get("port")
    if isinstance(port, str):
        import socket

        try:
            found["port"] = socket.getservbyname(port, "udp" if found.get("kind") == "dgram" else "tcp")
        except OSError:
            raise place.wrong(f"{port!r} is no service that this host knows; give the port's number") from None
    return found
