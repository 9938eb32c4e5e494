"""The system calls that Python has no name for: prctl, inotify, fallocate.

Knows their numbers (linux/prctl.h, linux/inotify.h, linux/falloc.h). Refuses to know what they are used for.
"""

import asyncio
import ctypes
import os
import select
import signal
import struct
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
IN_MODIFY = 0x2
IN_IGNORED = 0x8000
IN_ONESHOT = 0x80000000
FALLOC_KEEP_SIZE = 1
FALLOC_PUNCH_HOLE = 2
FALLOC_COLLAPSE_RANGE = 8
_EVENT = struct.Struct("iIII")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends, see PR_SET_PDEATHSIG in prctl(2).

    Raises:
        ProcessLookupError: The parent has already ended.
    """
    _checked(_libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0))
    if os.getppid() != parent_pid:
        raise ProcessLookupError(f"parent {parent_pid} has ended")


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """Cut a part out of a file, or make it a hole; see the manual page of this name.

    Raises:
        OSError: As there; EOPNOTSUPP where the file system cannot.
    """
    _checked(_libc.fallocate(fd, mode, offset, length))


class HangUps:
    """Calls back when the peer of a socket has closed it for good, though nothing is read from it or written to it.

    Lives on one event loop; for what it uses, EPOLLHUP that is reported without being asked for, see epoll_ctl(2).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        loop.add_reader(self._epoll, self._ready)

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Call once, now if it is so already."""
        self._callbacks[fd] = callback
        self._epoll.register(fd, 0)

    def unwatch(self, fd: int) -> None:
        """Stop watching a socket that is still open; harmless where it is not watched."""
        if self._callbacks.pop(fd, None):
            self._epoll.unregister(fd)

    def close(self) -> None:
        """Stop watching everything."""
        self._loop.remove_reader(self._epoll)
        self._epoll.close()
        self._callbacks.clear()

    def _ready(self) -> None:
        for fd, _ in self._epoll.poll(0):
            callback = self._callbacks.get(fd)
            self.unwatch(fd)
            if callback:
                callback()


class Inotify:
    """Calls back when a watched file changes. Lives on one event loop; costs nothing while nothing changes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._fd = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._callbacks: dict[int, Callable[[], None]] = {}
        loop.add_reader(self._fd, self._readable)

    def watch(self, path: str, mask: int, callback: Callable[[], None]) -> int:
        """Watch a path; with IN_ONESHOT for one change only.

        Returns:
            The watch, for ``unwatch``.

        Raises:
            OSError: No such file, or the user's watches are used up.
        """
        watch = _checked(_libc.inotify_add_watch(self._fd, os.fsencode(path), ctypes.c_uint32(mask)))
        self._callbacks[watch] = callback
        return watch

    def unwatch(self, watch: int) -> None:
        """Stop watching; harmless where the watch has ended by itself."""
        if self._callbacks.pop(watch, None):
            _libc.inotify_rm_watch(self._fd, watch)

    def close(self) -> None:
        """Stop watching everything."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _readable(self) -> None:
        data = os.read(self._fd, 65536)
        changed: dict[int, int] = {}
        at = 0
        while at < len(data):
            watch, mask, _cookie, name_bytes = _EVENT.unpack_from(data, at)
            at += _EVENT.size + name_bytes
            changed[watch] = changed.get(watch, 0) | mask
        for watch, mask in changed.items():
            callback = self._callbacks.pop(watch, None) if mask & IN_IGNORED else self._callbacks.get(watch)
            if callback and mask & IN_MODIFY:
                callback()
