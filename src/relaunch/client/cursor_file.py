"""How far a named reader of this host's journal has come, in a file: the next reader of that name goes on there.

Knows one file for each name, which one process has at a time. A place is written over in one small write, so that no
death of the process leaves half of one. Refuses to know what is read.
"""

import fcntl
import json
import os
from typing import Any

from relaunch.core.delivery import Cursor
from relaunch.errors import Refused
from relaunch.places import make_private, state_directory
from relaunch.subscription import check_name

# A record is never longer, and so never crosses a page.
_RECORD_BYTES = 512


class CursorFile:
    """The file of a name, held until closed.

    Args:
        name: See ``check_name``.

    Attributes:
        acked: All up to there has been handled; None where the name is new.
        handed: What was handed out last. Where it is after ``acked``, it may have been handled too.

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
            self.acked, self.handed = self._read()
        except BlockingIOError:
            os.close(self._fd)
            raise Refused(f"name {name!r} is in use by another process; end that one, or take another name") from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            os.close(self._fd)
            raise Refused(f"name {name!r}: {self._path} cannot be read ({error}); remove it to begin anew") from None

    def close(self) -> None:
        """Let the next process have it."""
        os.close(self._fd)

    def write(self, acked: Cursor | None, handed: Cursor | None) -> None:
        """Put down how far the reader has come.

        Raises:
            Refused: The disk does not take it.
        """
        self.acked, self.handed = acked, handed
        record = json.dumps({"acked": _write(acked), "handed": _write(handed)})
        try:
            os.pwrite(self._fd, record.ljust(_RECORD_BYTES - 1).encode() + b"\n", 0)
        except OSError as error:
            raise Refused(f"how far it has come cannot be written to {self._path}: {error.strerror}") from None

    def _read(self) -> tuple[Cursor | None, Cursor | None]:
        text = os.pread(self._fd, _RECORD_BYTES, 0)
        if not text:
            return None, None
        record = json.loads(text)
        return _cursor(record["acked"]), _cursor(record["handed"])


def _write(cursor: Cursor | None) -> dict[str, Any] | None:
    return None if cursor is None else {"epoch": cursor.epoch, "sequence": cursor.sequence}


def _cursor(wire: Any) -> Cursor | None:
    return None if wire is None else Cursor(str(wire["epoch"]), int(wire["sequence"]))
