"""Looks at paths: what one is now, whether looking may take long, and what leads there.

Refuses to know who is interested, and when to look.
"""

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

# File systems that another machine or process answers for, or that have one mounted when they are entered.
FAR_TYPES = frozenset("nfs nfs4 cifs smb3 smbfs ceph afs lustre gpfs autofs glusterfs ocfs2 gfs2".split())
UNKNOWN = "?"
_LINKS_MAX = 40


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


NEVER = Seen(there=False, holds=False, mark=UNKNOWN)
"""A path that has not been looked at."""


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


def is_far(path: str, mounts: str | None = None) -> bool:
    """Whether to look at a path may take long, by where it is mounted; ``mounts`` is as in /proc/self/mountinfo."""
    if mounts is None:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            mounts = file.read()
    best, kind = "", ""
    for line in mounts.splitlines():
        place, _, rest = line.partition(" - ")
        point = place.split(" ")[4].replace("\\040", " ").rstrip("/")
        if len(point) >= len(best) and (path + "/").startswith(point + "/"):
            best, kind = point, rest.split(" ")[0]
    # What all else hangs on is taken for near, whoever serves it.
    return best != "" and (kind in FAR_TYPES or kind.startswith("fuse"))


def way(path: str) -> Iterator[tuple[str, bytes | None]]:
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
