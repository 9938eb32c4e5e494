"""Watches paths that may not be there yet, and says which ones may have changed.

Rules: of each path, its own file is watched, the directory that it stands in, and what leads there, as far as that is
there; what becomes of one of these has all of it looked up anew (inotify(7) knows files, not paths). After an overflow
of the kernel's queue that goes for everything. What another machine serves may hang, and is looked at in threads: then
a path is what it was when last looked at. Refuses to know what a change means to whom.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from relaunch.launcher import kernel
from relaunch.launcher.seeing import NEVER, Seen, is_far, see, way

# What is written comes in several steps; a path is looked at this long after the first.
SETTLE_S = 0.05
_SELF = kernel.IN_DELETE_SELF | kernel.IN_MOVE_SELF
_ENTRIES = kernel.IN_CREATE | kernel.IN_DELETE | kernel.IN_MOVED_FROM | kernel.IN_MOVED_TO
_GONE = kernel.IN_IGNORED | kernel.IN_UNMOUNT
_OWN = _SELF | _ENTRIES | kernel.IN_MODIFY | kernel.IN_ATTRIB
log = logging.getLogger("relaunch")


@dataclass(slots=True)
class _Watched:
    """One path.

    Attributes:
        users: How many want it watched.
        changes: How often it has changed.
        watches: Those that are set for it.
        complained: Whether the log says that one could not be.
        far: Where looking at it may take long, what it was when last looked at; None where it is near.
        looking: Whether a thread looks at it now.
        again: Whether one has to once more, after that.
    """

    users: int = 0
    changes: int = 0
    watches: set[int] = field(default_factory=set)
    complained: bool = False
    far: Seen | None = None
    looking: bool = False
    again: bool = False


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
        self._unknown: set[int] = set()
        self._loop = asyncio.get_running_loop()
        self._stirred: set[str] = set()
        self._displaced: set[str] = set()
        self._settling = False

    def watch(self, path: str) -> None:
        """Watch a path, once more where it is watched already."""
        if path not in self._paths:
            self._paths[path] = _Watched(far=NEVER if is_far(path) else None)
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

    def see(self, path: str) -> Seen:
        """What a path is now; one that is far, when it was last looked at."""
        watched = self._paths.get(path)
        if watched is None:
            return NEVER if is_far(path) else see(path)
        return watched.far or see(path)

    def close(self) -> None:
        """Watch nothing more."""
        if self._events is not None:
            self._events.close()

    def _set(self, path: str) -> None:
        """Set the watches that a path needs now; where that cannot be, the log says so."""
        watched = self._paths[path]
        try:
            self._events = self._events or kernel.PathEvents(self._told)
        except OSError as error:
            log.warning("changes of %s will go unseen: %s", path, error.strerror)
            return
        if watched.far is None:
            self._take(path, watched, _watches(self._events, path))
        elif watched.looking:
            watched.again = True
        else:
            try:
                threading.Thread(target=self._look, args=(path, watched, self._events), daemon=True).start()
            except RuntimeError as error:  # the user has as many processes as they may have
                log.warning("changes of %s may go unseen: %s", path, error)
            else:
                watched.looking = True

    def _take(self, path: str, watched: _Watched, found: "list[_Found]") -> None:
        """Take note of the watches that have been set for a path in place of those that it had."""
        before, watched.watches = watched.watches, set()
        for old in before:
            self._concerned.get(old, {}).pop(path, None)
        for watch, name in found:
            if isinstance(watch, str):
                if name != b"" and not watched.complained:
                    watched.complained = True
                    log.warning("changes of %s may go unseen: %s", path, watch)
                continue
            watched.watches.add(watch)
            concerned = self._concerned.setdefault(watch, {})
            names = concerned.get(path, set())
            concerned[path] = None if name is None or names is None else names | ({name} if name else set())
        self._unset(path, before - watched.watches)

    def _look(self, path: str, watched: _Watched, events: kernel.PathEvents) -> None:
        """In a thread of its own, which may hang for as long as it likes: nothing waits for it."""
        found = _watches(events, path)
        seen = see(path)
        try:
            self._loop.call_soon_threadsafe(self._looked, path, watched, found, seen)
        except RuntimeError:  # the launcher has ended
            pass

    def _looked(self, path: str, watched: _Watched, found: "list[_Found]", seen: Seen) -> None:
        watched.looking = False
        if self._paths.get(path) is not watched:
            return
        self._take(path, watched, found)
        # What happened meanwhile was told of watches that nobody knew yet.
        again = watched.again or bool(self._unknown & watched.watches)
        self._unknown -= watched.watches
        watched.again = False
        before, watched.far = watched.far, seen
        if before != seen:
            self._changed({path})
        if again:
            self._set(path)

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
        if watch not in self._concerned and any(watched.looking for watched in self._paths.values()):
            self._unknown.add(watch)
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
            self._loop.call_later(SETTLE_S, self._settled)

    def _settled(self) -> None:
        stirred, self._stirred = self._stirred & self._paths.keys(), set()
        displaced, self._displaced = self._displaced & self._paths.keys(), set()
        self._settling = False
        far = {path for path in stirred if self._paths[path].far is not None}
        for path in displaced | far:
            self._set(path)
        if stirred - far:
            self._changed(stirred - far)


# A watch, or a line on why there is none; and the name that matters, as ``way`` gives it.
_Found = tuple[int | str, bytes | None]


def _watches(events: kernel.PathEvents, path: str) -> list[_Found]:
    """Set the watches for a path, in the order of the way to it, so that nothing is missed between."""
    found: list[_Found] = []
    for place, name in way(path):
        mask = _OWN if name is None else _SELF | _ENTRIES if name else _SELF
        try:
            found.append((events.add(place, mask), name))
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            found.append((f"{place} cannot be watched: {error.strerror}", name))
    return found
