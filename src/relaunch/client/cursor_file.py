"""How far a named reader of journals has come, in a file: the next reader of that name goes on there.

Knows one file for each name, which one process has at a time, and in it a record for each host. A record is written
over in one small write, so that no death of the process leaves half of one. Refuses to know what is read.
"""

import fcntl
import hashlib
import json
import os
from typing import Any

from relaunch.core.delivery import Cursor
from relaunch.core.delivery_wire import read_cursor, write_cursor
from relaunch.errors import ProtocolBroken, Refused
from relaunch.places import make_private, state_directory
from relaunch.subscription import check_name

# A record is never longer, and so never crosses a page.
_RECORD_BYTES = 512
_HOST_CHARACTERS_MAX = 200


class CursorFile:
    """The file of a name, held until closed.

    Args:
        name: See ``check_name``.

    Raises:
        BadSpec: It is no name.
        Refused: Another process has it, or the file cannot be used.
    """

    def __init__(self, name: str) -> None:
        directory = make_private(os.path.join(state_directory(), "subscribers"))
        self._path = os.path.join(directory, f"{check_name(name)}.cursor")
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise Refused(f"name {name!r}: {self._path}: {error.strerror}") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._places = self._read()
        except BlockingIOError:
            os.close(self._fd)
            raise Refused(f"name {name!r} is in use by another process; end that one, or take another name") from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError, ProtocolBroken) as error:
            os.close(self._fd)
            raise Refused(f"name {name!r}: {self._path} cannot be read ({error}); remove it to begin anew") from None

    def close(self) -> None:
        """Let the next process have it."""
        os.close(self._fd)

    def place(self, host: str = "") -> "KeptPlace":
        """How far it has come with one host's journal.

        Args:
            host: As it is called; empty for this host.
        """
        if len(host) > _HOST_CHARACTERS_MAX:
            host = hashlib.sha256(host.encode("utf-8", "surrogateescape")).hexdigest()
        if host not in self._places:
            self._places[host] = KeptPlace(self, len(self._places), host)
        return self._places[host]

    def put(self, number: int, record: dict[str, Any]) -> None:
        """Write a record.

        Raises:
            Refused: The disk does not take it.
        """
        text = json.dumps(record, separators=(",", ":"))
        try:
            os.pwrite(self._fd, text.ljust(_RECORD_BYTES - 1).encode() + b"\n", number * _RECORD_BYTES)
        except OSError as error:
            raise Refused(f"how far it has come cannot be written to {self._path}: {error.strerror}") from None

    def _read(self) -> dict[str, "KeptPlace"]:
        found: dict[str, KeptPlace] = {}
        number = 0
        while text := os.pread(self._fd, _RECORD_BYTES, number * _RECORD_BYTES):
            record = json.loads(text)
            place = KeptPlace(self, number, str(record.get("host", "")))
            place.acked, place.handed = _read_cursor(record["acked"]), _read_cursor(record["handed"])
            begun_at = record.get("begun_at")
            place.begun_at = None if begun_at is None else float(begun_at)
            found[place.host] = place
            number += 1
        return found


class KeptPlace:
    """How far a reader has come with one journal. Made by ``CursorFile.place``.

    Attributes:
        host: Whose journal it is.
        acked: All up to there has been handled; None where nothing is known.
        handed: What was handed out last. Where it is after ``acked``, it may have been handled too.
        begun_at: When the reader began, wall time, where nothing of that host has been handled since.
    """

    def __init__(self, file: CursorFile, number: int, host: str) -> None:
        self.host = host
        self.acked: Cursor | None = None
        self.handed: Cursor | None = None
        self.begun_at: float | None = None
        self._file = file
        self._number = number

    def begin(self, at: float) -> float | None:
        """The reader begins now, unless it has before; gives when that was, None where something has been handled.

        Raises:
            Refused: The disk does not take it.
        """
        if self.acked is None and self.begun_at is None:
            self.begun_at = at
            self.write(None, None)
        return self.begun_at if self.acked is None else None

    def write(self, acked: Cursor | None, handed: Cursor | None) -> None:
        """Put down how far the reader has come.

        Raises:
            Refused: The disk does not take it.
        """
        self.acked, self.handed = acked, handed
        record: dict[str, Any] = {"acked": write_cursor(acked), "handed": write_cursor(handed)}
        if self.host:
            record["host"] = self.host
        if acked is None and self.begun_at is not None:
            record["begun_at"] = self.begun_at
        self._file.put(self._number, record)


def _read_cursor(wire: object) -> Cursor | None:
    return None if wire is None else read_cursor(wire)
