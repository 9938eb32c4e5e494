"""An SQLite database of ours: the files that it is made of, how it is begun and opened, and what damage looks like.

Knows that a database in WAL mode is three files, of which none is any good without the others. ``synchronous=NORMAL``:
what has been committed survives the death of any process; after a power loss the last of it may be missing. Nothing is
checkpointed but by who asks for it, as that waits for the disk. Refuses to know what is in a database, and who uses it.
"""

import contextlib
import errno
import os
import secrets
import sqlite3
import time
from dataclasses import dataclass

SUFFIXES = ("", "-wal", "-shm")
Identity = tuple[tuple[int, int] | None, ...]
"""Device and inode of each of the files, None where there is none."""
GONE: Identity = ()
"""What no database is: one that could not be opened anew is so looked for again."""
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)


@dataclass(frozen=True, slots=True)
class Form:
    """What the databases of one use have in common.

    Attributes:
        application_id: By which they are told from other programs' databases.
        version: Of the form; no other is read.
        schema: The statements that make the tables.
    """

    application_id: int
    version: int
    schema: str

    def begin(self, connection: sqlite3.Connection) -> None:
        """Make the tables in an empty file, in a transaction that is left open for what is to be in them.

        Raises:
            sqlite3.Error: They cannot be made.
        """
        _prepare(connection)
        connection.executescript(
            f"BEGIN; PRAGMA application_id = {self.application_id}; PRAGMA user_version = {self.version}; {self.schema}"
        )

    def check(self, connection: sqlite3.Connection) -> None:
        """Make sure that an open file is a sound one of this form.

        Raises:
            ValueError: It is another program's, or of another form, or damaged.
            sqlite3.Error: It cannot be read.
        """
        application, version = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if application != self.application_id:
            raise ValueError("it belongs to another program")
        if version != self.version:
            raise ValueError(f"it has the form {version}; this version reads the form {self.version}")
        _prepare(connection)  # only now, for this changes the file
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise ValueError(str(verdict))


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")


def create(path: str) -> None:
    """Make the empty file of a database, open to nobody else.

    Raises:
        OSError: It cannot be made, or there is one.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def discard(path: str) -> None:
    """Remove the files of a database that was made here, and that nothing has come into."""
    for suffix in SUFFIXES:
        with contextlib.suppress(OSError):
            os.unlink(path + suffix)


def connect(path: str, *, wait_s: float) -> sqlite3.Connection:
    """Open a database for use on any thread, one at a time; transactions are begun and ended by the caller.

    Args:
        path: Of the file.
        wait_s: For how long to wait for somebody else's lock.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    return sqlite3.connect(path, timeout=wait_s, isolation_level=None, check_same_thread=False)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file itself is broken, rather than that the disk is full or busy.

    That a table is not there has no code of its own.
    """
    return _primary_code(error) in _DAMAGE or str(error).startswith("no such ")


def is_damage_or_error(error: sqlite3.Error) -> bool:
    """Likewise for statements that are known to be right: then it is the file that lacks a table or a column."""
    return is_damage(error) or _primary_code(error) == sqlite3.SQLITE_ERROR


def is_busy(error: Exception) -> bool:
    """Whether an error says that somebody else holds the file at the moment."""
    return isinstance(error, sqlite3.Error) and _primary_code(error) == sqlite3.SQLITE_BUSY


def _primary_code(error: sqlite3.Error) -> int:
    """The primary result code; 0, which is none of an error, where the module itself raised it."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def identity(path: str) -> Identity | None:
    """Which files a database consists of now; None where that cannot be told.

    Where these are others than when it was opened, it was taken away, or a part of it: it would take writes and lose
    them. To be asked once something has been read or written, for then all of them are there.
    """
    try:
        return tuple(_inode(path + suffix) for suffix in SUFFIXES)
    except OSError:
        return None


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
    return found.st_dev, found.st_ino


def was_taken_away(path: str, opened: Identity | None) -> bool:
    """Whether a database is certainly another than the one that was opened: not where nobody may look at the moment.

    Args:
        path: Where it is.
        opened: Its ``identity`` then.
    """
    return opened is not None and identity(path) not in (opened, None)


def set_aside(path: str) -> str | None:
    """Rename the files of a database that is of no use, together.

    Returns:
        What the first of those that were there is called now; None where there was none.

    Raises:
        OSError: One could not be renamed.
    """
    moved = None
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + "-" + secrets.token_hex(2)
    for suffix in SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            target = f"{path}.set-aside-{stamp}{suffix}"
            os.rename(path + suffix, target)
            moved = moved or target
    return moved
