"""What ssh connections have left behind that have ended, and whose turn it is to make one or to clear up after one.

Knows which files belong to one connection, and that only whoever has its turn may make or remove them: so nobody loses
what another is about to use. Refuses to know what is in them (``masters``). Imports next to nothing: every command over
ssh clears up.
"""

from __future__ import annotations

import _socket
import os
from time import monotonic, time

from relaunch.errors import BadPlace, RelaunchError

CONTROL = "control"
_TURN = "turn"
LISTED_S = 1.0
"""How often one process looks for what is left of connections that have ended by themselves."""
PROBED_S = 60.0
"""How often it is looked for those that were killed: they leave their control socket, and each has to be tried."""
_listed_at = float("-inf")


class Turn:
    """The right to make and remove the files of one connection, until given back. It ends with the process."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path

    def give_back(self) -> None:
        """Let the next one have it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def end(self) -> None:
        """Give it back where nothing else is left of the connection."""
        if self._fd >= 0:
            # Only while it is held: whoever comes now finds another file, and whoever waits for this one sees that.
            remove(self._path)
        self.give_back()


def take_turn(stem: str) -> Turn | None:
    """Be the one whose turn it is; None while somebody else is.

    Args:
        stem: What the paths of the connection's files begin with.

    Raises:
        BadPlace: The file for it cannot be made.
    """
    import fcntl

    path = f"{stem}.{_TURN}"
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise BadPlace(f"{path} cannot be made: {error.strerror}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same(fd, path):
                return Turn(fd, path)
        except OSError:
            os.close(fd)
            return None
        # Somebody has removed it between these two calls: the next one finds another file.
        os.close(fd)


def clean(stem: str) -> None:
    """Remove a connection's files, by whoever has its turn; all but the one that says so."""
    directory, name = os.path.split(stem)
    for one in os.listdir(directory):
        if one.startswith(f"{name}.") and one != f"{name}.{_TURN}":
            remove(os.path.join(directory, one))


def clean_in_turn(stem: str) -> None:
    """Remove what is left of a connection, unless it is there or somebody is about to make it anew."""
    turn = take_turn(stem)
    if turn is None:
        return
    try:
        if not somebody_listens(f"{stem}.{CONTROL}"):
            clean(stem)
            turn.end()
    finally:
        turn.give_back()


def sweep(directory: str) -> None:
    """Remove what connections that have ended have left; cheap, and now and then only, however often it is asked.

    Args:
        directory: Where the files of all connections are, verified.
    """
    global _listed_at  # noqa: PLW0603 - one for each process, as the directory is
    now = monotonic()
    if now - _listed_at < LISTED_S:
        return
    _listed_at = now
    try:
        for stem in _ended(directory):
            clean_in_turn(os.path.join(directory, stem))
    except (OSError, RelaunchError):
        # Whoever needs the directory says what is wrong with it.
        return


def _ended(directory: str) -> list[str]:
    """The stems of those that have ended: their control socket is gone, or nobody listens on it."""
    stems: set[str] = set()
    controlled: set[str] = set()
    for name in os.listdir(directory):
        stem, _, kind = name.partition(".")
        stems.add(stem)
        # ssh makes it under a longer name first.
        if kind.startswith(CONTROL):
            controlled.add(stem)
    ended = stems - controlled
    mark = f"{directory}.swept"
    if not controlled:
        remove(mark)
    elif not 0 <= time() - _changed_at(mark) < PROBED_S:
        ended |= {one for one in controlled if not somebody_listens(os.path.join(directory, f"{one}.{CONTROL}"))}
        _touch(mark)
    return sorted(ended)


def _touch(path: str) -> None:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        os.utime(path)
    except OSError:
        # As on a full disk: then it is looked for each time, and there is the more space.
        return


def somebody_listens(path: str) -> bool:
    """Whether a process listens on a socket."""
    probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
    try:
        probe.connect(path)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        probe.close()
    return True


def remove(path: str) -> None:
    """Remove a file, if it is there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _is_same(fd: int, path: str) -> bool:
    """Whether an open file is the one of that name."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _changed_at(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
