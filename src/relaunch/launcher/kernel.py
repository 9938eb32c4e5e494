"""What is asked of the kernel past asyncio: prctl, inotify, fallocate and timerfd, and an epoll set for hang-ups.

Python 3.11 has no calls for the first four. Knows their numbers (linux/prctl.h, linux/inotify.h,
linux/falloc.h, linux/timerfd.h). Refuses to know what they are used for.
"""

import asyncio
import ctypes
import errno
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator

PR_SET_PDEATHSIG = 1
IN_MODIFY = 0x2
IN_ATTRIB = 0x4
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_UNMOUNT = 0x2000
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_MASK_ADD = 0x20000000
IN_ONESHOT = 0x80000000
FALLOC_KEEP_SIZE = 1
FALLOC_PUNCH_HOLE = 2
FALLOC_COLLAPSE_RANGE = 8
_TFD_TIMER_ABSTIME = 1
_TFD_TIMER_CANCEL_ON_SET = 2
_NS = 1_000_000_000
_EVENT = struct.Struct("iIII")
# An interval of none, and when: seconds and nanoseconds.
_TIMER = struct.Struct("llll")
_CREDENTIALS = struct.Struct("3i")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def die_with_peer(fd: int) -> None:
    """Have the kernel kill this process when its parent, which made this socket pair, ends; see PR_SET_PDEATHSIG.

    Who made it the kernel says: had the parent been asked for after its death, that were already another process.

    Raises:
        ProcessLookupError: It has already ended.
    """
    _checked(_libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0))
    with socket.socket(fileno=os.dup(fd)) as pair:
        maker = _CREDENTIALS.unpack(pair.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[0]
    if os.getppid() != maker:
        raise ProcessLookupError(f"the keeper, {maker}, has ended")


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


class Timer:
    """Calls back at one time of one of the kernel's clocks, to the nanosecond. Lives on one event loop.

    Unlike the loop's own timers it may go on in suspend (CLOCK_BOOTTIME), or be about wall time (CLOCK_REALTIME): then
    it calls back too, soon, when the clock has been set, see timerfd_create(2).

    Args:
        clock: Of the time module.
        due: Called each time.
    """

    def __init__(self, clock: int, due: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._due = due
        self._flags = _TFD_TIMER_ABSTIME | (_TFD_TIMER_CANCEL_ON_SET if clock == time.CLOCK_REALTIME else 0)
        self._fd = _checked(_libc.timerfd_create(clock, os.O_NONBLOCK | os.O_CLOEXEC))
        self._loop.add_reader(self._fd, self._readable)

    def set(self, at: float) -> None:
        """Call then, and at no time that was set before; soon where that has passed."""
        # Zero would be never.
        seconds, nanoseconds = divmod(max(1, round(at * _NS)), _NS)
        try:
            _checked(_libc.timerfd_settime(self._fd, self._flags, _TIMER.pack(0, 0, seconds, nanoseconds), None))
        except OSError as error:
            if error.errno != errno.ECANCELED:
                raise
            self._loop.call_soon(self._due)  # it is set; and the clock was, since it last was

    def close(self) -> None:
        """Call no more."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _readable(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # it was set anew meanwhile
            return
        except OSError as error:
            if error.errno != errno.ECANCELED:
                raise
        self._due()


class PathEvents:
    """Tells of everything that happens to watched files and directories. Lives on one event loop.

    Args:
        told: Called with watch, mask and, in a directory, name, for each event; see inotify(7).
    """

    def __init__(self, told: Callable[[int, int, bytes], None]) -> None:
        self._told = told
        self._fd = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._readable)

    def add(self, path: str, mask: int) -> int:
        """Watch a path for these events too, on top of those that its file is watched for.

        Returns:
            The watch, one for each file.

        Raises:
            OSError: No such file, or the user's watches are used up.
        """
        whole = ctypes.c_uint32(mask | IN_MASK_ADD)
        return _checked(_libc.inotify_add_watch(self._fd, os.fsencode(path), whole))

    def remove(self, watch: int) -> None:
        """Stop watching; harmless where the watch has ended by itself."""
        _libc.inotify_rm_watch(self._fd, watch)

    def close(self) -> None:
        """Stop watching everything."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _readable(self) -> None:
        for event in _events(self._fd):
            self._told(*event)


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
        changed: dict[int, int] = {}
        for watch, mask, _ in _events(self._fd):
            changed[watch] = changed.get(watch, 0) | mask
        for watch, mask in changed.items():
            callback = self._callbacks.pop(watch, None) if mask & IN_IGNORED else self._callbacks.get(watch)
            if callback and mask & IN_MODIFY:
                callback()


def _events(fd: int) -> Iterator[tuple[int, int, bytes]]:
    """Watch, mask and name of what has happened, of a descriptor of inotify's that can be read."""
    try:
        data = os.read(fd, 65536)
    except BlockingIOError:
        return
    at = 0
    while at < len(data):
        watch, mask, _cookie, name_bytes = _EVENT.unpack_from(data, at)
        at += _EVENT.size + name_bytes
        yield watch, mask, data[at - name_bytes : at].rstrip(b"\0")
