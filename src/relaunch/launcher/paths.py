"""Watches paths that may not be there yet, and says which ones may have changed.

Rules: of each path, its own file is watched, the directory that it stands in, and what leads there, as far as that is
there; what becomes of one of these has all of it looked up anew (inotify(7) knows files, not paths). After an overflow
of the kernel's queue that goes for everything. Refuses to know what a change means to whom.
"""

import asyncio
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from relaunch.launcher import kernel

# What is written comes in several steps; a path is looked at this long after the first.
SETTLE_S = 0.05
_SELF = kernel.IN_DELETE_SELF | kernel.IN_MOVE_SELF
_ENTRIES = kernel.IN_CREATE | kernel.IN_DELETE | kernel.IN_MOVED_FROM | kernel.IN_MOVED_TO
_GONE = kernel.IN_IGNORED | kernel.IN_UNMOUNT
_OWN = _SELF | _ENTRIES | kernel.IN_MODIFY | kernel.IN_ATTRIB
_LINKS_MAX = 40
log = logging.getLogger("relaunch")


class Seen(NamedTuple):
    """What a path is.

    Attributes:
        there: Whether there is anything.
        holds: Whether it is a directory in which there is anything.
        mark: Another one whenever it has changed, also after a boot of the host.
    """

    there: bool
    holds: bool
    mark: str


def see(path: str) -> Seen:
    """Look at a path; of a directory at one entry, however many there are."""
    try:
        found = os.stat(path)
    except OSError:
        return Seen(there=False, holds=False, mark="-")
    holds = False
    if stat.S_ISDIR(found.st_mode):
        try:
            with os.scandir(path) as entries:
                holds = next(entries, None) is not None
        except OSError:
            pass
    # Not by its device, which has another number after a boot.
    mark = f"{found.st_ino:x}.{found.st_mtime_ns:x}.{found.st_ctime_ns:x}.{found.st_size:x}"
    return Seen(there=True, holds=holds, mark=mark)


@dataclass(slots=True)
class _Watched:
    """One path: for how many, how often it has changed, the watches that are set for it, whether one could not be."""

    users: int = 0
    changes: int = 0
    watches: set[int] = field(default_factory=set)
    complained: bool = False


class Paths:
    """The paths that somebody is interested in. Lives on one event loop; opens nothing before the first of them.

    Args:
        changed: Called with paths that may have changed, together where they came together.
    """

    def __init__(self, changed: Callable[[set[str]], None]) -> None:
        self._changed = changed
        self._events: kernel.PathEvents | None = None
        self._paths: dict[str, _Watched] = {}
        # For each watch and path, the names in that directory that concern it; None where the file is its own.
        self._concerned: dict[int, dict[str, set[bytes] | None]] = {}
        self._stirred: set[str] = set()
        self._displaced: set[str] = set()
        self._settling = False

    def watch(self, path: str) -> None:
        """Watch a path, once more where it is watched already."""
        if path not in self._paths:
            self._paths[path] = _Watched()
            self._set(path)
        self._paths[path].users += 1

    def unwatch(self, path: str) -> None:
        """Undo one ``watch``."""
        watched = self._paths[path]
        watched.users -= 1
        if not watched.users:
            self._unset(path, watched.watches)
            del self._paths[path]

    def changes(self, path: str) -> int:
        """How often a watched path has been seen to change; what is undone again at once counts too."""
        watched = self._paths.get(path)
        return watched.changes if watched else 0

    def close(self) -> None:
        """Watch nothing more."""
        if self._events is not None:
            self._events.close()

    def _set(self, path: str) -> None:
        """Set the watches that a path needs now; in the order of the way to it, so that nothing is missed between."""
        watched = self._paths[path]
        before, watched.watches = watched.watches, set()
        for watch in before:
            self._concerned.get(watch, {}).pop(path, None)
        for place, name in _way(path):
            self._add(path, watched, place, name)
        self._unset(path, before - watched.watches)

    def _add(self, path: str, watched: _Watched, place: str, name: bytes | None) -> None:
        mask = _OWN if name is None else _SELF | _ENTRIES if name else _SELF
        try:
            self._events = self._events or kernel.PathEvents(self._told)
            watch = self._events.add(place, mask)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if name != b"" and not watched.complained:
                watched.complained = True
                log.warning("changes of %s may go unseen: %s cannot be watched: %s", path, place, error.strerror)
            return
        watched.watches.add(watch)
        concerned = self._concerned.setdefault(watch, {})
        names = concerned.get(path, set())
        if name is None or names is None:
            concerned[path] = None
        else:
            concerned[path] = names | ({name} if name else set())

    def _unset(self, path: str, watches: set[int]) -> None:
        for watch in watches:
            concerned = self._concerned.get(watch, {})
            concerned.pop(path, None)
            if not concerned and self._concerned.pop(watch, None) is not None and self._events is not None:
                self._events.remove(watch)

    def _told(self, watch: int, mask: int, name: bytes) -> None:
        if mask & kernel.IN_Q_OVERFLOW:
            self._stir(self._paths, displaced=True)
            return
        for path, names in self._concerned.get(watch, {}).items():
            if names is None:
                own = not mask & _GONE
                self._stir([path], displaced=bool(mask & (_SELF | _GONE | kernel.IN_ATTRIB)))
            elif mask & _ENTRIES and name in names:
                own = name == os.fsencode(os.path.basename(path))
                self._stir([path], displaced=True)
            elif mask & (_SELF | _GONE):
                own = False
                self._stir([path], displaced=True)
            else:
                continue
            self._paths[path].changes += own
        if mask & kernel.IN_IGNORED:
            self._concerned.pop(watch, None)

    def _stir(self, paths: Iterable[str], *, displaced: bool) -> None:
        self._stirred.update(paths)
        if displaced:
            self._displaced.update(paths)
        if not self._settling:
            self._settling = True
            asyncio.get_running_loop().call_later(SETTLE_S, self._settled)

    def _settled(self) -> None:
        stirred, self._stirred = self._stirred & self._paths.keys(), set()
        displaced, self._displaced = self._displaced & self._paths.keys(), set()
        self._settling = False
        for path in displaced:
            self._set(path)
        if stirred:
            self._changed(stirred)


def _way(path: str) -> Iterator[tuple[str, bytes | None]]:
    """What is to be watched for a path, from the root on, each when the one before is.

    Yields:
        A file, and the name in it that matters; an empty one where only its own place does; None for the path itself.
        Of links, the directory that they stand in, so that one that is put in place of another is seen.
    """
    todo = [part for part in path.split("/") if part not in ("", ".")]
    here, links = "/", 0
    while todo:
        name = todo.pop(0)
        there = os.path.normpath(os.path.join(here, name))
        if name == "..":
            here = there
            continue
        try:
            target = os.readlink(there)
        except OSError:
            target = None
        matters = not todo or target is not None or not os.path.lexists(there)
        yield here, os.fsencode(name) if matters else b""
        if target is not None and links < _LINKS_MAX:
            links += 1
            todo = [part for part in target.split("/") if part not in ("", ".")] + todo
            here = "/" if target.startswith("/") else here
        else:
            here = there
    yield here, None
