"""An SQLite database as the file system has it: the files that it is made of, told apart from others of their names.

Knows that a database in WAL mode is three files, of which none is any good without the others. Refuses to know what is
in them, and who uses them.
"""

import contextlib
import errno
import os
import secrets
import time

SUFFIXES = ("", "-wal", "-shm")
Identity = tuple[tuple[int, int] | None, ...]
"""Device and inode of each of the files, None where there is none."""
GONE: Identity = ()
"""What no database is: one that could not be opened anew is so looked for again."""
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)


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
