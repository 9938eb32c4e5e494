"""Starts the program that one order describes, and names what failed.

Refuses to know keys, reports, and who waits for the program's end. A failed start leaves neither a process nor a
descriptor; a file that it created for output stays.
"""

import errno
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable

from relaunch.keeper.wire import Message

# Words of the service manager to the keeper alone: a job that believed them would speak in the keeper's name.
_PRIVATE = (
    b"NOTIFY_SOCKET LISTEN_FDS LISTEN_PID LISTEN_FDNAMES WATCHDOG_USEC WATCHDOG_PID INVOCATION_ID JOURNAL_STREAM"
).split()
_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
_CLOCK_SLACK_NS = 1000
# Of `stat_fields`: clock ticks since boot.
START_TIME = 19
_SHORTAGE = {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM}


class SpawnFailed(Exception):
    """A start failed: `what`, `errno` and `subject` are those of the wire's `failed`."""

    def __init__(self, what: str, number: int, subject: str) -> None:
        super().__init__(what, number, subject)
        self.what = "fork" if number in _SHORTAGE else what
        self.errno = number
        self.subject = subject


def raw(text: str) -> bytes:
    """The bytes that a string on the wire stands for, whatever the locale (PEP 383)."""
    return text.encode("utf-8", "surrogateescape")


class Spawner:
    """Starts programs that inherit the keeper's environment of now.

    Args:
        devnull: A descriptor of /dev/null, for the streams that have no path; the caller keeps it.
    """

    def __init__(self, devnull: int) -> None:
        self._devnull = devnull
        self._environment = {name: value for name, value in os.environb.items() if name not in _PRIVATE}
        self._clock_agrees = False

    def spawn(self, order: Message) -> tuple[int, int]:
        """Start a program in a session of its own, with default signal dispositions and an empty signal mask.

        Blocks until the kernel has executed the program or refused to.

        Args:
            order: A `spawn` order, see `relaunch.keeper.wire`.

        Returns:
            The process id and the start time in clock ticks since boot. The caller, as the parent, reaps the process.

        Raises:
            SpawnFailed: Nothing was started.
        """
        opened: list[int] = []
        try:
            streams = _streams(order, self._devnull, opened)
            environment = _merged(self._environment, order.get("env"))
            before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            pid = _execute(order, environment, streams, opened)
            after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        finally:
            for fd in opened:
                os.close(fd)
        try:
            return pid, self._ticks(pid, before, after)
        except OSError as error:
            os.killpg(pid, signal.SIGKILL)
            raise SpawnFailed("fork", error.errno or errno.EIO, f"/proc/{pid}/stat") from error

    def _ticks(self, pid: int, before: int, after: int) -> int:
        """Field 22 of /proc/PID/stat, which is this clock in ticks, without reading it where the clock leaves no doubt.

        The read so soon after execve costs a quarter of the whole start. Where a kernel does not keep the two alike
        (the first start of an unambiguous time tells), each is read.
        """
        first, last = (before - _CLOCK_SLACK_NS) // _TICK_NS, (after + _CLOCK_SLACK_NS) // _TICK_NS
        if self._clock_agrees and first == last:
            return first
        ticks = stat(pid)[1]
        if first == last:
            self._clock_agrees = ticks == first
        return ticks


def stat(pid: int) -> tuple[int, int]:
    """The parent and the start time (clock ticks since boot) of a process, from /proc.

    Raises:
        OSError: There is no such process.
    """
    fields = stat_fields(pid)
    return int(fields[1]), int(fields[START_TIME])


def stat_fields(pid: int) -> list[bytes]:
    """What /proc/PID/stat says of a process from its state on, see proc(5).

    Raises:
        OSError: There is no such process.
    """
    with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
        return file.read(4096).rpartition(b")")[2].split()


def _merged(environment: dict[bytes, bytes], changes: dict[str, str | None] | None) -> dict[bytes, bytes]:
    merged = environment.copy()
    for name, value in (changes or {}).items():
        if value is None:
            merged.pop(raw(name), None)
        else:
            merged[raw(name)] = raw(value)
    return merged


def _streams(order: Message, devnull: int, opened: list[int]) -> tuple[int, int, int]:
    def open_path(what: str, flags: int) -> int:
        path = order[what]
        try:
            # Non-blocking only while it opens: a FIFO without its other end must not hold up the keeper.
            fd = os.open(raw(path), flags | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK, 0o600)
        except OSError as error:
            raise SpawnFailed(what, error.errno or errno.EIO, path) from error
        opened.append(fd)
        os.set_blocking(fd, True)
        return fd

    output = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    stdin = devnull if order.get("stdin") is None else open_path("stdin", os.O_RDONLY)
    stdout = devnull if order.get("stdout") is None else open_path("stdout", output)
    stderr = stdout if order.get("stderr") is None else open_path("stderr", output)
    return stdin, stdout, stderr


def _execute(order: Message, environment: dict[bytes, bytes], streams: tuple[int, int, int], opened: list[int]) -> int:
    prepare, cause = None, -1
    if order.get("nice") is not None or order.get("limits"):
        prepare, cause = _preparation(order, opened)
    program = order.get("program") or order["argv"][0]
    cwd, umask = order.get("cwd"), order.get("umask")
    try:
        process = subprocess.Popen(
            [raw(argument) for argument in order["argv"]],
            executable=raw(program),
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            # As str, where `executable` is bytes: the type of the error's file name tells which of the two failed.
            cwd=None if cwd is None else os.fsdecode(raw(cwd)),
            env=environment,
            umask=-1 if umask is None else umask,
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509 - there is one thread
        )
    except OSError as error:
        number = error.errno or errno.EIO
        if isinstance(error.filename, bytes):
            raise SpawnFailed("program", number, program) from error
        if isinstance(error.filename, str):
            raise SpawnFailed("cwd", number, cwd or "") from error
        raise SpawnFailed("fork", number, "") from error
    except subprocess.SubprocessError as error:
        told = os.read(cause, 4096)
        raise SpawnFailed(*(json.loads(told) if told else ("fork", errno.EIO, ""))) from error
    process.returncode = 0  # or Popen would list it, and poll the whole list at each start
    return process.pid


def _preparation(order: Message, opened: list[int]) -> tuple[Callable[[], None], int]:
    """What the child does to itself before it executes the program, and where to read why that failed."""
    steps: list[tuple[str, str, Callable[[], object]]] = []

    def limit(name: str, soft: int | None, hard: int | None) -> Callable[[], object]:
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is None:
            raise SpawnFailed("limit", errno.EINVAL, name)
        pair = (
            resource.RLIM_INFINITY if soft is None else soft,
            resource.RLIM_INFINITY if hard is None else hard,
        )
        return lambda: resource.prlimit(0, number, pair)

    nice = order.get("nice")
    if nice is not None:
        steps.append(("nice", str(nice), lambda: os.setpriority(os.PRIO_PROCESS, 0, nice)))
    for name, (soft, hard) in (order.get("limits") or {}).items():
        steps.append(("limit", name, limit(name, soft, hard)))
    try:
        ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SpawnFailed("fork", error.errno or errno.EIO, "") from error
    opened += [ours, theirs]

    def prepare() -> None:
        for what, subject, step in steps:
            try:
                step()
            except Exception as error:
                number = getattr(error, "errno", None) or errno.EINVAL
                os.write(theirs, json.dumps([what, number, subject]).encode())
                raise

    return prepare, ours
