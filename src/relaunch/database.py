"""An SQLite database as the file system has it: the files that it is made of, told apart from others of their names.

Knows that a database in WAL mode is three files, of which none is any good without the others. Refuses to know what is
in them, and who uses them.
"""

import contextlib
import os
import secrets
import time

SUFFIXES = ("", "-wal", "-shm")
Identity = tuple[tuple[int, int] | None, ...]
"""Device and inode of each of the files, None where there is none."""


def identity(path: str) -> Identity:
    """Which files a database consists of now.

    Where these are others than when it was opened, it was taken away, or a part of it: it would take writes and lose
    them. To be asked once something has been read or written, for then all of them are there.
    """
    return tuple(_inode(path + suffix) for suffix in SUFFIXES)


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


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
