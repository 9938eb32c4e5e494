"""What keeper and launcher say to each other: the one file they share.

JSON objects ended by NUL over a stream socketpair. Knows the fields of each order and report. Refuses to know what an
order is for: a key is an opaque string that the launcher chose.

Orders, launcher to keeper (``op``):
    up      the launcher serves; from now on it is started again when it dies
    spawn   key, argv, program (searched in the PATH of the job's environment unless it holds a slash), env (added to
            the keeper's own; null removes), cwd, stdin, stdout, stderr (paths; null = /dev/null, for stderr where
            stdout goes), umask, nice (null = the keeper's own), limits ({"nofile": [soft, hard]}, null = infinity,
            "inherit" = as it is), user ({"uid", "gid", "groups"}; null = the keeper's own), own_output (stdout is
            opened with the keeper's rights, though there is a user), low_priority_io, globbing (patterns of glob(3) in
            argv are replaced by what they match, if anything), sockets (a key that is listened on: descriptors from 3
            on, LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES as in sd_listen_fds(3); null = none)
    adopt   key, pid, ticks (start time, field 22 of /proc/PID/stat), boot_id: watch a process that is not a child
    listen  key, sockets ([name, socket] each): bind them, and hold them open until ``close``. A socket is {"kind",
            "path", "mode"} or {"kind", "port", "family", "host", "addresses"}, see SocketSpec in ``relaunch.policy``;
            addresses ([address, scope id] each) is what the launcher found for host
    watch   key: say so, once, when one of its sockets can be read, or if one can be already
    close   key: close them, remove the files of Unix sockets
    forget  keys: their exits are recorded elsewhere; drop them
    quit    status: when the launcher has gone, end with that status; children stay
Reports, keeper to launcher (``event``):
    hello   version, keeper_pid, boot_id, started_at, launcher_starts, launcher_died (wait status of the one before, or
            null), listening (keys), children (a ``spawned`` or ``exited`` report for each key held): the first report
    spawned key, pid, ticks, at: its program has been executed
    failed  key, what (program|cwd|stdin|stdout|stderr|limit|nice|io|user|socket|fork), errno, subject (the path, the
            limit's name, the uid, the address), at; user with ETIME: its files had the start hang
    listening key, addresses ([name, path or address] each, with the port that it got)
    called  key: a connection or a datagram waits; the watch is over
    exited  key, pid, status (as wait(2) gives it; null = unknown), usage (see below; null = unknown), orphans (whether
            any child is left for which no key is held, and so perhaps something of this one's tree), at
    asked   signal: the keeper got SIGTERM, SIGINT or SIGHUP; it is for the launcher to end things in order

``usage`` is ``{"user_s", "system_s", "rss_bytes_max"}``. ``at`` is wall time in seconds since the epoch. An adopted
process is reported ``spawned`` or, gone or never there, ``exited`` with status null. A key is held from ``spawn`` or
``adopt`` until ``forget``, or until ``failed``; an order for a key that is held is answered by its last report again.
Keys that are listened on are others than those; each of its launchers finds them open, and watches anew what it wants.
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

VERSION = 2
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
