"""Becoming the one launcher of a user on a host: the lock in the state directory, and the sockets.

Knows who is first, and what is left over from one that died. Refuses to know what is started then. The descriptors are
handed on to the keeper and to each launcher in turn, so that callers wait in the backlog while a launcher is replaced.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import time

from relaunch.client.endpoint import peer
from relaunch.errors import AlreadyServing, BadPlace, ServeFailed
from relaunch.places import make_private, runtime_directory, socket_path, state_directory

LOCK_NAME = "lock"
NOTIFY_NAME = "notify.sock"
BACKLOG = 1024
SYSTEMD_FIRST_FD = 3
# How long one that ends may still have the lock: a launcher whose keeper was killed, a keeper after its launcher.
DYING_S = 2.0
_RETRY_S = 0.02
_LOST = (
    "it was started with another XDG_RUNTIME_DIR, or its socket was removed; "
    "to have its jobs adopted here, kill -KILL that process and serve again"
)
_PID_BYTES_MAX = 32


def prepare_places() -> tuple[str, str]:
    """Make and verify the directories.

    Returns:
        The socket's path and the state directory.

    Raises:
        BadPlace: One of them cannot be made or must not be trusted.
    """
    path = socket_path()
    make_private(runtime_directory())
    return path, make_private(state_directory())


def take_lock(state: str, path: str) -> int:
    """Take the lock, and empty it: whose it is, the one that becomes the keeper says with ``own_lock``.

    Args:
        state: The state directory.
        path: The socket's path, for the message.

    Returns:
        The descriptor that holds the lock: as long as any copy of it is open.

    Raises:
        AlreadyServing: Another launcher has it; the line names its pid.
        BadPlace: The lock's file cannot be used.
    """
    try:
        fd = os.open(os.path.join(state, LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise BadPlace(f"lock {os.path.join(state, LOCK_NAME)}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise BadPlace(f"lock {os.path.join(state, LOCK_NAME)} is no regular file; remove it")
    give_up_at = time.monotonic() + DYING_S
    while not _locked(fd):
        pid = _holder(fd)
        found = _alive(pid) and _answers(path)
        if found or time.monotonic() > give_up_at:
            where = f"socket {path}" if found else f"but nobody answers at {path}; {_LOST}"
            raise AlreadyServing(f"a launcher of yours already serves here: pid {pid or 'unknown'}, {where}")
        time.sleep(_RETRY_S)
    os.ftruncate(fd, 0)
    return fd


def own_lock(fd: int) -> None:
    """Write this process's id into the lock, for whoever finds it taken."""
    try:
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    except OSError:
        # A full disk must not keep a launcher from starting; the refusal of a second one will lack the pid.
        return


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(fd: int) -> int:
    digits = os.pread(fd, _PID_BYTES_MAX, 0).strip()
    return int(digits) if digits.isdigit() else 0


def _alive(pid: int) -> bool:
    """Whether there is such a process and it has not ended; one that nobody has waited for yet has."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def _answers(path: str) -> bool:
    """Whether anybody listens there. Nobody does where the one with the lock has not begun to, or is about to end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def listen(path: str) -> tuple[int, str, str]:
    """A listening socket: the one that systemd passed, else a new one in the place of any that nobody listens on.

    The caller holds the lock.

    Returns:
        Its descriptor, its path, and who made it: ``serve`` or ``systemd``.

    Raises:
        AlreadyServing: Somebody listens at the path all the same, with another state directory.
        BadPlace: What is at the path is no socket, or nothing can be bound there.
    """
    passed = _passed_by_systemd()
    if passed is not None:
        return passed
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    umask = os.umask(0o177)
    try:
        sock.bind(path)
    except OSError as error:
        raise BadPlace(f"socket {path} cannot be made: {error.strerror}") from None
    finally:
        os.umask(umask)
    sock.listen(BACKLOG)
    return sock.detach(), path, "serve"


def hear_jobs(path: str) -> int:
    """A socket on which jobs say that they are ready, see sd_notify(3).

    The caller holds the lock. For a user it is beside the launcher's own, where nobody else can reach it. Root's jobs
    may be other users, who cannot either, so that root's has a name without a file; where that is taken, it is like a
    user's.

    Args:
        path: The launcher's own socket.

    Returns:
        Its descriptor.

    Raises:
        BadPlace: It cannot be made.
    """
    place = os.path.join(os.path.dirname(path), NOTIFY_NAME)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            sock.bind(f"\0{place}")
            return sock.detach()
    umask = os.umask(0o177)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place)
        sock.bind(place)
    except OSError as error:
        raise BadPlace(f"socket {place} cannot be made: {error.strerror}") from None
    finally:
        os.umask(umask)
    return sock.detach()


def _passed_by_systemd() -> tuple[int, str, str] | None:
    names = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    # Not for the launcher, and not for its jobs: see sd_listen_fds(3).
    pid, count, _ = (os.environ.pop(name, "") for name in names)
    if pid != str(os.getpid()) or not count.isdecimal() or int(count) < 1:
        return None
    if int(count) > 1:
        raise ServeFailed(f"systemd passed {count} sockets; the launcher takes one ListenStream= and no more")
    try:
        sock = socket.socket(fileno=SYSTEMD_FIRST_FD)
    except OSError as error:
        raise ServeFailed(
            f"LISTEN_FDS is set and descriptor {SYSTEMD_FIRST_FD} is no socket: {error.strerror}"
        ) from None
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise ServeFailed("the socket that systemd passed is no Unix stream socket; give ListenStream= a path")
    path = os.fsdecode(sock.getsockname())
    return sock.detach(), path, "systemd"


def _remove_stale(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise BadPlace(f"{path} is not a socket; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            os.unlink(path)
            return
        raise AlreadyServing(
            f"a launcher already serves here, with another state directory: pid {peer(probe)[0]}, socket {path}"
        )
