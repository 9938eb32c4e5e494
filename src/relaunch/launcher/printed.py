"""Lines that a run prints, searched until one of them matches, from where its file stood when the run began.

Knows files that grow, are cut at the front, or are emptied by others. Only whole lines count, and of a long one its
beginning. Refuses to know what a match is good for.
"""

import asyncio
import os
from collections.abc import Callable
from typing import NamedTuple

from relaunch.launcher import kernel
from relaunch.launcher.matcher import BATCH_BYTES_MAX, Matcher, TooSlow
from relaunch.launcher.output import Outputs
from relaunch.model import JobSpec

LINE_BYTES_MAX = 16 * 1024
"""What follows in a line is not searched."""
SLOW_MAX = 3
"""After so many lines that took too long the expression is given up."""
_SETTLE_S = 0.05

Inode = tuple[int, int]


class Place(NamedTuple):
    """Where in a file: the offset when so many bytes had been cut from its front by this launcher."""

    offset: int
    cut: int

    def after(self, cut: int) -> "Place":
        """The same place when so many have been cut."""
        return Place(max(0, self.offset - (cut - self.cut)), cut)


class Growth:
    """Tells, once, that a file has been written to. Lives on one event loop."""

    def __init__(self) -> None:
        self._inotify: kernel.Inotify | None = None
        self._waiting: dict[Inode, tuple[int, set[asyncio.Event]]] = {}

    def watch(self, file: int, grown: asyncio.Event) -> Inode | None:
        """Set an event at the next write; None where the kernel has no more watches to give."""
        if self._inotify is None:
            try:
                self._inotify = kernel.Inotify(asyncio.get_running_loop())
            except OSError:
                return None
        found = os.fstat(file)
        inode = found.st_dev, found.st_ino
        mask = kernel.IN_MODIFY | kernel.IN_ONESHOT
        try:
            # By the open file and not by its path: that may have another name by now.
            watch = self._inotify.watch(f"/proc/self/fd/{file}", mask, lambda: self._grown(inode))
        except OSError:
            return None
        waiting = self._waiting.setdefault(inode, (watch, set()))[1]
        waiting.add(grown)
        self._waiting[inode] = watch, waiting
        return inode

    def unwatch(self, inode: Inode, grown: asyncio.Event) -> None:
        """Watch no longer; harmless where it has been told."""
        if inode not in self._waiting or self._inotify is None:
            return
        watch, waiting = self._waiting[inode]
        waiting.discard(grown)
        if not waiting:
            del self._waiting[inode]
            self._inotify.unwatch(watch)

    def close(self) -> None:
        """Stop watching everything."""
        self._waiting.clear()
        if self._inotify is not None:
            self._inotify.close()

    def _grown(self, inode: Inode) -> None:
        if inode in self._waiting:
            for event in self._waiting.pop(inode)[1]:
                event.set()


class Search:
    """One expression, searched in one file.

    Args:
        outputs: Cuts files.
        matcher: Searches lines.
        growth: Tells when there may be more.
        spec: The job's that prints.
        path: The file.
    """

    def __init__(self, outputs: Outputs, matcher: Matcher, growth: Growth, spec: JobSpec, path: str) -> None:
        self._outputs = outputs
        self._matcher = matcher
        self._growth = growth
        self._spec = spec
        self._path = path
        self._is_own = path == outputs.path(spec.label)  # which only its launcher cuts
        self._slow = 0

    async def until_found(self, pattern: str, begin: Place, again_s: float, moved: Callable[[Place], None]) -> None:
        """Return when a line matches that stands after ``begin``.

        Args:
            pattern: The expression.
            begin: Where the run began.
            again_s: When to look again where the kernel does not tell of growth.
            moved: Told where the run began when that is another place, as when the file has been cut.

        Raises:
            OSError: As ``Outputs.open``.
            TooSlow: The expression is of no use.
        """
        file = await asyncio.get_running_loop().run_in_executor(None, self._outputs.open, self._spec, self._path)
        try:
            with self._matcher:
                await self._search(file, pattern, begin, again_s, moved)
        finally:
            os.close(file)

    async def _search(
        self, file: int, pattern: str, begin: Place, again_s: float, moved: Callable[[Place], None]
    ) -> None:
        at, rest = begin, b""
        while True:
            grown = asyncio.Event()
            inode = self._growth.watch(file, grown)  # before it is read: no growth goes unseen
            try:
                while True:
                    data, *now = await self._outputs.piece(self._path, file, at.offset, at.cut)
                    at = Place(*now)
                    if at.cut != begin.cut:
                        begin = begin.after(at.cut)
                        moved(begin)
                    if not data:
                        break
                    *lines, rest = (rest + data).split(b"\n")
                    rest = rest[:LINE_BYTES_MAX]
                    if await self._is_in(pattern, lines):
                        return
                if not self._is_own and os.fstat(file).st_size < at.offset:
                    begin = at = Place(0, at.cut)
                    rest = b""
                    moved(begin)
                    continue
                if inode is None:
                    await asyncio.sleep(again_s)
                else:
                    await grown.wait()
            finally:
                if inode is not None:
                    self._growth.unwatch(inode, grown)
            # A line has many writes, and a busy job many lines.
            await asyncio.sleep(_SETTLE_S)

    async def _is_in(self, pattern: str, lines: list[bytes]) -> bool:
        batch: list[bytes] = []
        size = 0
        for line in lines:
            batch.append(line[:LINE_BYTES_MAX])
            size += len(batch[-1])
            if size >= BATCH_BYTES_MAX:
                if await self._is_in_batch(pattern, batch):
                    return True
                batch, size = [], 0
        return bool(batch) and await self._is_in_batch(pattern, batch)

    async def _is_in_batch(self, pattern: str, lines: list[bytes]) -> bool:
        """As ``Matcher.found``, save that lines which take too long are passed over, a few of them."""
        try:
            return await self._matcher.found(pattern, lines)
        except TooSlow:
            if len(lines) == 1:
                self._slow += 1
                if self._slow >= SLOW_MAX:
                    raise
                return False
        for line in lines:
            if await self._is_in_batch(pattern, [line]):
                return True
        return False
