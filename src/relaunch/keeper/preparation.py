"""What a new process does to itself before it executes its program, where an order asks for more than a plain start.

All of it happens in the forked child, under the identity that it takes on there: what goes wrong ends with the child,
and the keeper itself is never anybody else. Refuses to know keys and reports, and how the child came to be.
"""

import errno
import fcntl
import json
import os
import resource
import signal
import sys

from relaunch.keeper.wire import TYPE_CHECKING, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Step = tuple[str, str, Callable[[], object]]
    Handed = Sequence[tuple[str, int]]

FIRST_PASSED_FD = 3
# How long the files of a user, who can have any of them hang, may hold up the keeper.
REACH_S = 5.0
_AGAIN_S = 0.5
SHORTAGE = {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM}
# What Python has no name for: linux/ioprio.h, asm/unistd.h, glob.h.
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_BEST_EFFORT_LOWEST = 2 << 13 | 7
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_GLOB_NOCHECK = 1 << 4
_GLOB_T_BYTES = 256


class SpawnFailed(Exception):
    """A start failed: `what`, `errno` and `subject` are those of the wire's `failed`."""

    def __init__(self, what: str, number: int, subject: str) -> None:
        super().__init__(what, number, subject)
        self.what = "fork" if number in SHORTAGE else what
        self.errno = number
        self.subject = subject


def raw(text: str) -> bytes:
    """The bytes that a string on the wire stands for, whatever the locale (PEP 383)."""
    return text.encode("utf-8", "surrogateescape")


def open_stream(what: str, path: str) -> int:
    """Open the file for one of the standard streams (`what`), with the rights of the moment.

    Raises:
        SpawnFailed: It could not be opened.
    """
    flags = os.O_RDONLY if what == "stdin" else os.O_WRONLY | os.O_APPEND | os.O_CREAT
    try:
        # Non-blocking only while it opens: a FIFO without its other end must not hold up the keeper.
        fd = os.open(raw(path), flags | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise SpawnFailed(what, error.errno or errno.EIO, path) from error
    os.set_blocking(fd, True)
    return fd


class Preparation:
    """What one child has to do, as a callable to be called in it; it raises where anything fails.

    Args:
        order: A `spawn` order, see `relaunch.keeper.wire`.
        environment: Of the program.
        handed: Sockets for it, each with its name.
        devnull: Any descriptor of the caller's; it stays as it is.
        opened: Gets descriptors that the caller closes once the child has been made.

    Raises:
        SpawnFailed: The order cannot be carried out.
    """

    def __init__(
        self, order: Message, environment: "dict[bytes, bytes]", handed: "Handed", devnull: int, opened: "list[int]"
    ) -> None:
        self._order = order
        self._environment = environment
        self._handed = handed
        self._heard = b""
        self._expired = False
        self._steps: list[Step] = []
        self._argv = [raw(argument) for argument in order["argv"]]
        self._program = raw(order.get("program") or order["argv"][0])
        executes = bool(handed or order.get("globbing"))
        if order.get("globbing") or order.get("low_priority_io"):
            # First, as it reads files: the user may have no right to.
            self._steps.append(("fork", "ctypes", _load_ctypes))
        if handed:
            self._steps.append(("socket", order["sockets"], self._hand_over))
        if order.get("user") is not None:
            self._enter(order["user"])
        if order.get("globbing"):
            self._steps.append(("fork", "glob", self._expand))
        # Only now, as what comes before needs descriptors.
        self._steps += _bounds(order) if order.get("user") is None else self._leave(order["user"])
        if executes:
            self._steps.append(("program", order.get("program") or order["argv"][0], self._execute))
        try:
            # Neither the pipe nor what Popen opens may have a number that a socket is to have in the child.
            reserved = -1
            while handed and reserved < FIRST_PASSED_FD + len(handed):
                reserved = os.dup(devnull)
                opened.append(reserved)
            self._cause, self._told = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise SpawnFailed("fork", error.errno or errno.EIO, "") from error
        opened += [self._cause, self._told]

    def __call__(self) -> None:
        """Prepare this process; does not return where it is this that executes the program."""
        if self._order.get("user") is not None:
            os.write(self._told, b"%d\n" % os.getpid())
        for what, subject, step in self._steps:
            try:
                step()
            except Exception as error:
                known = error if isinstance(error, SpawnFailed) else None
                number = getattr(error, "errno", None) or errno.EINVAL
                told = [known.what, number, known.subject] if known else [what, number, subject]
                os.write(self._told, json.dumps(told).encode())
                raise

    def failure(self) -> SpawnFailed:
        """Why it raised in the child, for the parent to raise."""
        told = self._read().rpartition(b"\n")[2]
        return SpawnFailed(*json.loads(told)) if told else SpawnFailed("fork", errno.EIO, "")

    def begin(self) -> None:
        """Have the child killed if it has not executed its program in time, where a user can see to that."""
        if self._order.get("user") is not None:
            signal.signal(signal.SIGALRM, self._expire)
            signal.setitimer(signal.ITIMER_REAL, REACH_S, _AGAIN_S)

    def end(self) -> bool:
        """The child has executed its program, or has failed to; gives whether it was in time."""
        if self._order.get("user") is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return not self._expired

    def _expire(self, *_: object) -> None:
        pid = self._read().partition(b"\n")[0]
        if pid:  # else it has not come so far as to say
            self._expired = True
            os.kill(int(pid), signal.SIGKILL)

    def _read(self) -> bytes:
        """What the child has told so far."""
        try:
            self._heard += os.read(self._cause, 1 << 16)
        except BlockingIOError:
            pass
        return self._heard

    def _enter(self, user: Message) -> None:
        """Reach for files and directory with the user's rights alone."""
        uid, gid, groups = user["uid"], user["gid"], user["groups"]
        cwd = self._order.get("cwd") or "/"

        def become() -> None:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.seteuid(uid)

        self._steps += [
            ("user", str(uid), become),
            ("fork", "", self._open_streams),
            ("cwd", cwd, lambda: os.chdir(raw(cwd))),
        ]

    def _leave(self, user: Message) -> "list[Step]":
        """Back for a moment to what has the right to it, then the user for good."""
        uid, umask, keeper = user["uid"], self._order.get("umask"), os.geteuid()
        return [
            ("user", str(uid), lambda: os.seteuid(keeper)),
            *_bounds(self._order),
            ("user", str(uid), lambda: os.setresuid(uid, uid, uid)),
            ("fork", "umask", lambda: None if umask is None else os.umask(umask)),
        ]

    def _open_streams(self) -> None:
        for number, what in enumerate(("stdin", "stdout", "stderr")):
            path = self._order.get(what)
            if path is None:
                if what == "stderr":
                    os.dup2(1, 2)
            elif what != "stdout" or not self._order.get("own_output"):
                os.dup2(open_stream(what, path), number)

    def _hand_over(self) -> None:
        """Put the sockets where the program looks for them; the copies between keep one from taking another's place."""
        above = FIRST_PASSED_FD + len(self._handed)
        copies = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above) for _, fd in self._handed]
        for number, copy in enumerate(copies, FIRST_PASSED_FD):
            os.dup2(copy, number)
            os.set_blocking(number, True)  # a run before this one may have left it otherwise

    def _expand(self) -> None:
        """Put what the patterns match in their place; the program too, where it is the first argument."""
        expanded = _expanded(self._argv)
        if self._program == self._argv[0]:
            self._program = expanded[0]
        self._argv = expanded

    def _execute(self) -> None:
        """Execute the program here, with what only the child knows: its id, and what the patterns match."""
        if self._handed:
            self._environment |= {
                b"LISTEN_FDS": b"%d" % len(self._handed),
                b"LISTEN_PID": b"%d" % os.getpid(),
                b"LISTEN_FDNAMES": raw(":".join(name for name, _ in self._handed)),
            }
        os.execvpe(self._program, self._argv, self._environment)


def _bounds(order: Message) -> "list[Step]":
    """Priorities and limits."""
    steps: list[Step] = []
    nice = order.get("nice")
    if nice is not None:
        steps.append(("nice", str(nice), lambda: os.setpriority(os.PRIO_PROCESS, 0, nice)))
    if order.get("low_priority_io"):
        steps.append(("io", os.uname().machine, _lower_io_priority))
    for name, (soft, hard) in (order.get("limits") or {}).items():
        steps.append(("limit", name, _limit(name, soft, hard)))
    return steps


def _limit(name: str, soft: int | str | None, hard: int | str | None) -> "Callable[[], object]":
    number = getattr(resource, f"RLIMIT_{name.upper()}", None)
    if number is None:
        raise SpawnFailed("limit", errno.EINVAL, name)

    def bound(asked: int | str | None, now: int) -> int:
        if asked == "inherit":
            return now
        return resource.RLIM_INFINITY if asked is None else int(asked)

    def apply() -> None:
        soft_now, hard_now = resource.prlimit(0, number) if "inherit" in (soft, hard) else (0, 0)
        most = bound(hard, hard_now)
        least = bound(soft, soft_now)
        if soft == "inherit" and most != resource.RLIM_INFINITY:
            # What is said is the hard one, and the soft one cannot stay over it.
            least = most if least == resource.RLIM_INFINITY else min(least, most)
        resource.prlimit(0, number, (least, most))

    return apply


def _load_ctypes() -> None:
    import ctypes  # noqa: F401 - in the child alone, as it is as large as a tenth of the keeper


def _lower_io_priority() -> None:
    import ctypes

    number = _IOPRIO_SET.get(os.uname().machine) if sys.maxsize > 1 << 32 else None
    if number is None:
        raise OSError(errno.ENOSYS, "no known number of ioprio_set")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(ctypes.c_long(number), _IOPRIO_WHO_PROCESS, 0, _IOPRIO_BEST_EFFORT_LOWEST) < 0:
        raise OSError(ctypes.get_errno(), "ioprio_set")


def _expanded(words: list[bytes]) -> list[bytes]:
    """The words, with each pattern replaced by the paths that it matches, in order; see glob(3)."""
    import ctypes

    class Found(ctypes.Structure):
        _fields_ = (
            ("count", ctypes.c_size_t),
            ("paths", ctypes.POINTER(ctypes.c_char_p)),
            ("rest", ctypes.c_char * _GLOB_T_BYTES),
        )

    libc = ctypes.CDLL(None)
    result: list[bytes] = []
    for word in words:
        if not any(sign in word for sign in (b"*", b"?", b"[")):
            result.append(word)
            continue
        found = Found()
        if libc.glob(ctypes.c_char_p(word), _GLOB_NOCHECK, None, ctypes.byref(found)):
            raise OSError(errno.ENOMEM, "glob")
        result += [path or b"" for path in found.paths[: found.count]]
    return result
