"""What jobs print: a file each, written by the job itself, bounded without its help, read back.

A job holds its file open for appending, so nothing it prints passes through the launcher, and nothing is lost when the
launcher dies. When a file has outgrown its bound, its oldest part is cut off in place: collapsed (ext4, xfs), or where
the file system cannot, punched into a hole that takes no space (tmpfs, btrfs), which readers skip. inotify tells of
growth, so that a silent job costs nothing. Refuses to know jobs and their states.
"""

import asyncio
import base64
import contextlib
import errno
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable

from relaunch.errors import BadSpec
from relaunch.fields import Wire
from relaunch.launcher import kernel
from relaunch.launcher.accounts import account_of
from relaunch.model import JobSpec
from relaunch.places import size_bytes

CHECK_S = 0.25
KEPT = 0.75
BLOCK_BYTES = 4096
CHUNK_BYTES = 256 * 1024
TAIL_BYTES = 2048
TAIL_LINES = 20


class Outputs:
    """The output files of one launcher. Lives on its event loop.

    Args:
        directory: Where the files are; it exists and is private.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._loop = asyncio.get_running_loop()
        self._growth = kernel.Inotify(self._loop)
        self._bounds: dict[str, int] = {}
        self._unwatched: set[str] = set()
        self._followers: dict[str, set[asyncio.Event]] = {}
        self._changes: kernel.Inotify | None = None
        self._watches: dict[str, int] = {}
        self._cut: dict[str, int] = {}
        self._submitted: dict[str, tuple[int, int]] = {}
        self._cutting = threading.Lock()
        self._problems: dict[str, str] = {}

    @property
    def problem(self) -> str | None:
        """What is not as it should be, if anything."""
        return next(iter(list(self._problems.values())), None)  # a copy, as threads add to it

    def path(self, label: str) -> str:
        """The file of a label, in one flat directory: a slash becomes a comma, which no label holds."""
        return f"{self._directory}/{label.replace('/', ',')}.log"

    def path_of(self, spec: JobSpec) -> str:
        """Where a job's standard output goes."""
        return spec.stdout or self.path(spec.label)

    def submitted(self, spec: JobSpec) -> None:
        """Note where the output of a new job begins in its own file, behind that of earlier jobs of its label."""
        path = self.path(spec.label)
        size = size_bytes(path)
        self._submitted.pop(path, None)
        if size and spec.stdout is None:
            self._submitted[path] = size, self.cut_bytes(path)

    def bound(self, spec: JobSpec) -> None:
        """Keep the job's own file within its bound from now on; a file that the user named is the user's.

        To be called for each run: the file of the last one may have been removed.
        """
        path = self.path(spec.label)
        if spec.stdout is None:
            self._bounds[path] = spec.output_bytes_max
            self._problems.pop(path, None)
            if not self._unwatched:
                self._loop.call_later(CHECK_S, self._watch_new)
            self._unwatched.add(path)

    def unbound(self, spec: JobSpec) -> None:
        """Watch no longer; ``tail_of`` has kept the bound a last time."""
        self._bounds.pop(self.path(spec.label), None)
        self._problems.pop(self.path(spec.label), None)
        self._wake(self.path_of(spec))

    def remove(self, spec: JobSpec) -> None:
        """Remove the job's own file: there would be ever more of them, of labels that nobody uses again."""
        path = self.path(spec.label)
        # How much was cut off stays: whoever reads the file still counts by that.
        for known in (self._bounds, self._problems, self._submitted):
            known.pop(path, None)
        with contextlib.suppress(OSError):
            os.unlink(path)

    def close(self) -> None:
        """Stop watching."""
        self._growth.close()
        if self._changes is not None:
            self._changes.close()

    def tail_of(self, spec: JobSpec) -> Callable[[], Wire]:
        """A function that reads the last lines a job printed, for the thread that may wait for a disk."""
        path = spec.stderr or self.path_of(spec)

        def tail() -> Wire:
            if spec.stdout is None:
                self._trim(self.path(spec.label), spec.output_bytes_max)
            try:
                file = self.open(spec, path)
            except OSError:
                return {"output_tail": []}
            try:
                return {"output_tail": last_lines(file, TAIL_LINES, TAIL_BYTES)}
            finally:
                os.close(file)

        return tail

    def tail_at_hand(self, spec: JobSpec) -> Callable[[], Wire | None] | None:
        """Like ``tail_of``, for the loop: a function that waits for no disk, and gives None where it would have to.

        There is none where the lines are in a file that the user named: that may be anything, anywhere.
        """
        if spec.stdout is not None or spec.stderr is not None:
            return None
        path = self.path(spec.label)

        def tail() -> Wire | None:
            data = end_at_hand(path, TAIL_BYTES, spec.output_bytes_max)
            return None if data is None else {"output_tail": _lines(data, TAIL_LINES)}

        return tail

    def open(self, spec: JobSpec, path: str) -> int:
        """Open a file that a job prints to for reading.

        One that another user's job names has to be that user's own (S30): they can put a link to anything in its place,
        and have no more of what root can read than of what root can write. To become them for that would let them have
        this thread hang.

        Raises:
            OSError: It cannot be opened, is no regular file, or is not the user's.
        """
        owner = None if path == self.path(spec.label) else _owner(spec)
        file = open_regular(path)
        if owner is not None and os.fstat(file).st_uid != owner:
            os.close(file)
            raise OSError(errno.EPERM, "belongs to another user than the job, and is not read for it")
        return file

    def _watch_new(self) -> None:
        """Watch the files of jobs that have just started, now that those who waited for the start have their answer."""
        unwatched, self._unwatched = self._unwatched, set()
        for path in unwatched:
            if path in self._bounds:
                self._watch(path)
                if size_bytes(path) > self._bounds[path]:
                    self._grown(path)

    def _watch(self, path: str) -> None:
        try:
            self._growth.watch(path, kernel.IN_MODIFY | kernel.IN_ONESHOT, lambda: self._grown(path))
        except OSError as error:
            self._problems[path] = f"output {path} is not bounded: {error.strerror}"

    def _check(self, path: str) -> None:
        """Watch for the next growth, then cut: in this order no growth goes unseen."""
        bytes_max = self._bounds.get(path)
        if bytes_max is None:
            return
        self._watch(path)
        self._loop.run_in_executor(None, self._trim, path, bytes_max)

    def _grown(self, path: str) -> None:
        self._loop.call_later(CHECK_S, self._check, path)

    def _trim(self, path: str, bytes_max: int) -> None:
        try:
            with self._cutting:
                self._cut[path] = self._cut.get(path, 0) + trim(path, bytes_max)
        except OSError as error:
            self._problems[path] = f"output {path} is not bounded: {error.strerror}"

    def _wake(self, path: str) -> None:
        for follower in self._followers.get(path, ()):
            follower.set()

    async def read(
        self, spec: JobSpec, lines: int | None, finished: Callable[[], bool], *, follow: bool, submitted: bool = False
    ) -> AsyncIterator[str]:
        """The last lines of a job's file (all for None), base64, in pieces; then what comes, until it has finished.

        With ``submitted`` it begins at the first byte since then, where that is known: not before this launcher began.

        Raises:
            OSError: There is no such file, or it cannot be read.
        """
        path = self.path_of(spec)
        file = await self._loop.run_in_executor(None, self.open, spec, path)
        grown = self._follow(path) if follow else None
        try:
            since = self._submitted.get(path) if submitted and spec.stdout is None else None
            offset, cut = await self._loop.run_in_executor(None, self._start, path, file, lines, since)
            while True:
                over = grown is None or finished()
                if grown is not None:
                    grown.clear()
                while True:
                    data, offset, cut = await self._loop.run_in_executor(None, self._piece, path, file, offset, cut)
                    if not data:
                        break
                    yield base64.b64encode(data).decode("ascii")
                if grown is None or over:
                    return
                await grown.wait()
        finally:
            os.close(file)
            if grown is not None:
                self._unfollow(path, grown)

    def cut_bytes(self, path: str) -> int:
        """By how many bytes every byte of a file has moved towards its front since this launcher began."""
        return self._cut.get(path, 0)

    async def piece(self, path: str, file: int, offset: int, cut: int) -> tuple[bytes, int, int]:
        """What stands in a file from an offset on, as that was when so many bytes had been cut.

        Returns:
            The data, empty at the end; the offset after it, and how many bytes had been cut when that was so.
        """
        return await self._loop.run_in_executor(None, self._piece, path, file, offset, cut)

    def _start(self, path: str, file: int, lines: int | None, since: tuple[int, int] | None) -> tuple[int, int]:
        with self._cutting:
            first, cut = start_of_lines(file, lines), self._cut.get(path, 0)
            if since is not None:
                begin = since[0] - (cut - since[1])
                # In a file that its user has emptied meanwhile everything is new.
                first = max(first, begin) if begin <= os.fstat(file).st_size else first
            return first, cut

    def _piece(self, path: str, file: int, offset: int, cut: int) -> tuple[bytes, int, int]:
        with self._cutting:
            now = self._cut.get(path, 0)
            offset = max(0, offset - (now - cut))
            try:
                offset = os.lseek(file, offset, os.SEEK_DATA)  # past a hole, where one was punched before it was read
            except OSError:  # ENXIO: the end
                return b"", offset, now
            data = os.pread(file, CHUNK_BYTES, offset)
            return data, offset + len(data), now

    def _follow(self, path: str) -> asyncio.Event:
        event = asyncio.Event()
        if path not in self._followers:
            self._followers[path] = set()
            self._changes = self._changes or kernel.Inotify(self._loop)
            self._watches[path] = self._changes.watch(path, kernel.IN_MODIFY, lambda: self._wake(path))
        self._followers[path].add(event)
        return event

    def _unfollow(self, path: str, event: asyncio.Event) -> None:
        self._followers[path].discard(event)
        if not self._followers[path]:
            del self._followers[path]
            if self._changes is not None:
                self._changes.unwatch(self._watches.pop(path))


def _owner(spec: JobSpec) -> int | None:
    """Whose the files have to be that a job names; None where it runs as who this is."""
    try:
        user = account_of(spec).user
    except BadSpec as error:  # there was one when it was started
        raise OSError(errno.EPERM, str(error)) from None
    return None if user is None else int(user["uid"])


def open_regular(path: str) -> int:
    """Open a regular file for reading, without waiting for anybody.

    Raises:
        OSError: It cannot be opened, or is something else.
    """
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "is not a regular file; read it where it goes")
    return file


def trim(path: str, bytes_max: int) -> int:
    """Cut the oldest part off a file that is over its bound, in whole blocks, while others append to it.

    Returns:
        By how many bytes every later byte has moved towards the front: 0 where nothing was cut, or where a hole stands
        in its place.

    Raises:
        OSError: The file system can do neither.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        found = os.fstat(fd)
        taken = min(found.st_size, found.st_blocks * 512)
        if taken <= bytes_max:
            return 0
        cut = int(found.st_size - bytes_max * KEPT) // BLOCK_BYTES * BLOCK_BYTES
        try:
            kernel.fallocate(fd, kernel.FALLOC_COLLAPSE_RANGE, 0, cut)
            return cut
        except OSError:
            kernel.fallocate(fd, kernel.FALLOC_PUNCH_HOLE | kernel.FALLOC_KEEP_SIZE, 0, cut)
            return 0
    finally:
        os.close(fd)


def start_of_lines(fd: int, lines: int | None) -> int:
    """The offset at which the last so many lines begin; for None, where the data begins, past a hole at the front."""
    size = os.fstat(fd).st_size
    first = os.lseek(fd, 0, os.SEEK_DATA) if size else 0
    if lines is None:
        return first
    if lines <= 0:
        return size
    at, wanted = size, lines
    while at > first:
        begin = max(first, at - CHUNK_BYTES)
        data = os.pread(fd, at - begin, begin)
        if at == size:
            data = data.removesuffix(b"\n")
        count = data.count(b"\n")
        if count >= wanted:
            end = len(data)
            for _ in range(wanted):
                end = data.rindex(b"\n", 0, end)
            return begin + end + 1
        wanted -= count
        at = begin
    return first


def last_lines(file: int, lines: int, bytes_max: int) -> list[str]:
    """The last lines of a file, at most so many bytes; none where it cannot be read."""
    try:
        data = os.pread(file, bytes_max, max(0, os.fstat(file).st_size - bytes_max))
    except OSError:
        return []
    return _lines(data, lines)


def end_at_hand(path: str, bytes_max: int, size_max: int) -> bytes | None:
    """The last bytes of a regular file.

    Returns:
        None where they are not all in memory, or where the file is over its bound and must be cut first.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > size_max:
            return None
        data = bytearray(min(bytes_max, found.st_size))
        # Some file systems cannot say whether they would wait (EOPNOTSUPP).
        got = os.preadv(fd, [data], found.st_size - len(data), os.RWF_NOWAIT) if data else 0
        return bytes(data) if got == len(data) else None
    except OSError:
        return None
    finally:
        os.close(fd)


def _lines(data: bytes, lines: int) -> list[str]:
    return data.lstrip(b"\0").decode("utf-8", "backslashreplace").splitlines()[-lines:]
