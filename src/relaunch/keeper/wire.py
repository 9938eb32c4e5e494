"""What keeper and launcher say to each other: the one file they share.

JSON objects ended by NUL over a stream socketpair. Knows the fields of each order and report. Refuses to know what an
order is for: a key is an opaque string that the launcher chose.

Orders, launcher to keeper (``op``):
    up      the launcher serves; from now on it is started again when it dies
    spawn   key, argv, program (searched in the PATH of the job's environment unless it holds a slash), env (added to
            the keeper's own; null removes), cwd, stdin, stdout, stderr (paths; null = /dev/null, for stderr where
            stdout goes), umask, nice (null = the keeper's own), limits ({"nofile": [soft, hard]}, null = infinity)
    adopt   key, pid, ticks (start time, field 22 of /proc/PID/stat), boot_id: watch a process that is not a child
    forget  keys: their exits are recorded elsewhere; drop them
    quit    status: when the launcher has gone, end with that status; children stay
Reports, keeper to launcher (``event``):
    hello   version, keeper_pid, boot_id, started_at, launcher_starts, launcher_died (wait status of the one before, or
            null), children (a ``spawned`` or ``exited`` report for each key held): the first report
    spawned key, pid, ticks, at: its program has been executed
    failed  key, what (program|cwd|stdin|stdout|stderr|limit|nice|fork), errno, subject (the path, or the limit's
            name), at
    exited  key, pid, status (as wait(2) gives it; null = unknown), usage (see below; null = unknown), at
    asked   signal: the keeper got SIGTERM, SIGINT or SIGHUP; it is for the launcher to end things in order

``usage`` is ``{"user_s", "system_s", "rss_bytes_max"}``. ``at`` is wall time in seconds since the epoch. An adopted
process is reported ``spawned`` or, gone or never there, ``exited`` with status null. A key is held from ``spawn`` or
``adopt`` until ``forget``, or until ``failed``; an order for a key that is held is answered by its last report again.
Orders that a launcher sent before it died are carried out. Strings that are not UTF-8 travel as lone surrogates
(PEP 383).
"""

import json

# The typing module would be a twentieth of the keeper's memory.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Message = dict[str, Any]
else:
    Message = dict

VERSION = 1
_encode = json.JSONEncoder(separators=(",", ":")).encode


def encode(message: Message) -> bytes:
    """One message as it goes on the wire."""
    return _encode(message).encode("ascii") + b"\0"


class Decoder:
    """Cuts the stream into messages; both ends trust each other, so there is no bound."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> "list[Message]":
        """The messages that these bytes complete, in order."""
        *whole, self._rest = (self._rest + data).split(b"\0")
        return [json.loads(raw) for raw in whole]
