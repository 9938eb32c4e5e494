"""What ``launch doctor`` looks at on the host where it runs, in this order, and what it says of it.

Every look is harmless, and is made for real: a file is cut, a process ends and is asked how. Refuses to know how it is
shown, and what is to be found out from another host.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import tempfile

from relaunch import __version__
from relaunch.cli import logout
from relaunch.client.calls import get_status
from relaunch.client.finding import Finding, fail, ok, warn
from relaunch.client.quick import Client
from relaunch.errors import NoLauncher, RelaunchError
from relaunch.keeper.children import status_of_reaped
from relaunch.launcher import kernel
from relaunch.places import check_private, runtime_directory, state_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

SERVE = "launch serve --background"
DESCRIPTORS_WANTED = 4096
FREE_BYTES_WANTED, FREE_BYTES_MIN = 256 * 1024**2, 16 * 1024**2
_BLOCK_BYTES = 4096
_PR_GET_CHILD_SUBREAPER = 37
_CODE = 7
# SQLite's log of writes is shared memory among processes, which file systems over a network do not have.
_OVER_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "gpfs", "fuse.sshfs", "9p", "beegfs")


def findings() -> Iterator[Finding]:
    """Look at everything."""
    yield ok("launch", f"version {__version__}", python=sys.version.split()[0], path=sys.argv[0])
    launcher, status = _launcher()
    yield launcher
    keeper = status["keeper_pid"] if status else os.getpid()
    yield logout.look(keeper, runtime_directory())
    yield _control_groups(keeper)
    yield _kernel()
    yield _descriptors(keeper)
    yield from _state()


def _launcher() -> tuple[Finding, dict[str, Any] | None]:
    try:
        status = Client().call(get_status())
    except NoLauncher:
        return fail("launcher", "no launcher runs", f"start one: {SERVE}"), None
    except RelaunchError as error:
        text, _, advice = error.message.partition("; ")
        return fail("launcher", text, advice or "see launcher.log in the state directory"), None
    data = {name: status[name] for name in ("version", "launcher_pid", "keeper_pid", "uptime_s", "launcher_starts")}
    problem = status["journal"]["problem"]
    if problem:
        return fail("launcher", f"it cannot write: {problem}", "see to its disk; jobs go on meanwhile", **data), status
    if status["version"] != __version__:
        advice = "take this version into use: launch serve --replace"
        return warn("launcher", f"it runs version {status['version']}", advice, **data), status
    return ok("launcher", "it answers", **data), status


def _control_groups(pid: int) -> Finding:
    """Whether jobs could have control groups of their own; they are ended without."""
    path = "/sys/fs/cgroup"
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            own = next((line[3:].strip() for line in file if line.startswith("0::")), "")
    except OSError:
        own = ""
    if own and os.path.exists(f"{path}/cgroup.controllers") and os.access(f"{path}{own}/cgroup.procs", os.W_OK):
        return ok("cgroup", "a control group is delegated to the launcher; it is not needed yet", path=own)
    return ok("cgroup", "no control group is delegated to the launcher; none is needed yet", path=own)


def _kernel() -> Finding:
    release = os.uname().release
    try:
        os.close(os.pidfd_open(os.getpid()))
        reaper = ctypes.c_int()
        if ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(reaper), 0, 0, 0) != 0:
            return fail("kernel", "it has no child subreapers", "use Linux 5.3 or newer", release=release)
    except (OSError, AttributeError) as error:
        return fail("kernel", f"it has no pidfds ({error})", "use Linux 5.3 or newer", release=release)
    if not _tells_exits():
        text = "how a process ended that another keeper had started is told only until its parent reaps it"
        return warn("kernel", text, "Linux 6.15 tells it afterwards too", release=release)
    return ok("kernel", "pidfds, their exit status, child subreapers", release=release)


def _tells_exits() -> bool:
    """Whether a pidfd tells how a process ended that has been reaped."""
    pid = os.fork()
    if pid == 0:
        os._exit(_CODE)
    pidfd = os.pidfd_open(pid)
    try:
        os.waitpid(pid, 0)
        status = status_of_reaped(pidfd)
    finally:
        os.close(pidfd)
    return status is not None and os.waitstatus_to_exitcode(status) == _CODE


def _descriptors(keeper: int) -> Finding:
    try:
        limit = resource.prlimit(keeper, resource.RLIMIT_NOFILE)[1]
    except (OSError, ValueError):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count = sys.maxsize if limit == resource.RLIM_INFINITY else limit
    if count < DESCRIPTORS_WANTED:
        text = f"at most {count} descriptors: room for {count // 3} clients and subscribers"
        return warn(
            "limits", text, "raise the hard limit of nofile (ulimit -Hn, limits.conf, LimitNOFILE)", nofile=count
        )
    return ok("limits", f"{DESCRIPTORS_WANTED} descriptors or more", nofile=count)


def _state() -> Iterator[Finding]:
    """The state directory, or where it would be made."""
    state = place = state_directory()
    while not os.path.isdir(place) and place != "/":
        place = os.path.dirname(place)
    if place == state:
        try:
            check_private(state)
        except RelaunchError as error:
            text, _, advice = error.message.partition("; ")
            yield fail("state", text, advice or f"make it yours: {state}")
            return
    kind = file_system(place)
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    data = {"path": state, "file_system": kind, "free_bytes": free}
    if kind in _OVER_NETWORK:
        yield warn(
            "state", f"{state} is on {kind}, a file system over a network", "set XDG_STATE_HOME to a local one", **data
        )
    elif free < FREE_BYTES_WANTED or found.f_favail == 0 < found.f_files:
        level = fail if free < FREE_BYTES_MIN or found.f_favail == 0 < found.f_files else warn
        yield level(
            "state", f"{state} has {free // 1024**2} MiB left", "make room: nothing is started once it is full", **data
        )
    else:
        yield ok("state", f"on {kind}, with room", **data)
    yield _cutting(place, kind)


def _cutting(place: str, kind: str) -> Finding:
    """Whether output can be kept within its bound there."""
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"x" * 2 * _BLOCK_BYTES)
            file.flush()
            try:
                kernel.fallocate(file.fileno(), kernel.FALLOC_COLLAPSE_RANGE, 0, _BLOCK_BYTES)
                return ok("output", "files are cut at their front", file_system=kind)
            except OSError:
                kernel.fallocate(file.fileno(), kernel.FALLOC_PUNCH_HOLE | kernel.FALLOC_KEEP_SIZE, 0, _BLOCK_BYTES)
                return ok("output", f"files on {kind} get a hole at their front", file_system=kind)
    except PermissionError as error:
        return fail("output", f"no file can be made in {place}: {error.strerror}", "set XDG_STATE_HOME to one of yours")
    except OSError as error:
        text = f"no file can be cut in {place} on {kind} ({error.strerror}): output is not kept within its bound"
        return warn(
            "output", text, "set XDG_STATE_HOME to another file system, or send output elsewhere", file_system=kind
        )


def file_system(path: str) -> str:
    """The kind of file system that a path is on."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                left, _, right = line.partition(" - ")
                if left.split()[2] == wanted:
                    return right.split()[0]
    except (OSError, IndexError):
        pass
    return "an unknown file system"
