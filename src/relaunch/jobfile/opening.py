"""Opening a file whose words are carried out: only where nobody but its owner could have written them.

Knows owners, permissions and kinds of files, as launchd looks at them. Refuses to know what a file says.
"""

from __future__ import annotations

import os
import stat

from relaunch.errors import BadJobFile

BYTES_MAX = 4 * 1024 * 1024
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_ROOT = 0


def read_bytes(path: str) -> bytes:
    """What a file holds.

    What is looked at is the open file itself, so that nothing can be put in its place in between.

    Raises:
        BadJobFile: It cannot be read, is no file, is too large, or somebody else could have written it.
    """
    try:
        # A FIFO, a socket or a device is opened without waiting for anybody at its other end.
        descriptor = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:
        raise BadJobFile(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        _check(path, descriptor)
        return _read(path, descriptor)
    except OSError as error:
        raise BadJobFile(f"{path}: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _check(path: str, descriptor: int) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise BadJobFile(f"{path}: is no regular file")
    if found.st_uid not in (os.geteuid(), _ROOT):
        raise BadJobFile(f"{path}: belongs to user {found.st_uid}, neither to you nor to root; it is not used")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(found.st_mode)
        raise BadJobFile(f"{path}: others than its owner can write it (mode {mode:03o}); run: chmod go-w {path}")
    if found.st_size > BYTES_MAX:
        raise BadJobFile(f"{path}: has {found.st_size} bytes; {BYTES_MAX} are the most")
    # The directory in which the name was found, and that in which the file is: a symlink leads from one to the other.
    real = os.path.realpath(path)
    for directory in dict.fromkeys([os.path.dirname(os.path.abspath(path)), os.path.dirname(real)]):
        mode = os.stat(directory).st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise BadJobFile(
                f"{path}: anybody can put another file in its place (mode {stat.S_IMODE(mode):03o} of {directory}); "
                f"run: chmod o-w {directory}"
            )


def _read(path: str, descriptor: int) -> bytes:
    pieces: list[bytes] = []
    left = BYTES_MAX + 1
    while left > 0:
        piece = os.read(descriptor, min(left, 1 << 20))
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        left -= len(piece)
    raise BadJobFile(f"{path}: has more than {BYTES_MAX} bytes")
