"""Starts the program that one order describes, and names what failed.

Refuses to know keys, reports, and who waits for the program's end. A failed start leaves neither a process nor a
descriptor; a file that it created for output stays.
"""

import contextlib
import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence

from relaunch.keeper.preparation import SHORTAGE, Preparation, SpawnFailed, open_stream, raw
from relaunch.keeper.wire import Message

# Words of the service manager to the keeper alone: a job that believed them would speak in the keeper's name.
_PRIVATE = (
    b"NOTIFY_SOCKET LISTEN_FDS LISTEN_PID LISTEN_FDNAMES WATCHDOG_USEC WATCHDOG_PID INVOCATION_ID JOURNAL_STREAM"
).split()
_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
_CLOCK_SLACK_NS = 1000
# What Python ignores; a handler ends with the program that has it.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)
# Of `stat_fields`: clock ticks since boot.
START_TIME = 19


class Spawner:
    """Starts programs that inherit the keeper's environment of now.

    Args:
        devnull: A descriptor of /dev/null, for the streams that have no path; the caller keeps it.
        sockets: Gives what is listened on for a key, each with its name; none where it is for no such key.
    """

    def __init__(self, devnull: int, sockets: Callable[[str], Sequence[tuple[str, int]]]) -> None:
        self._devnull = devnull
        self._sockets = sockets
        self._environment = {name: value for name, value in os.environb.items() if name not in _PRIVATE}
        self._clock_agrees = False
        self._directory = _own_directory()

    def spawn(self, order: Message) -> tuple[int, int]:
        """Start a program in a session of its own, with default signal dispositions and an empty signal mask (S20).

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
            prepare = None if _is_plain(order) else self._preparation(order, environment, opened)
            with self._entered(order):
                before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
                pid = (
                    _execute(order, environment, streams)
                    if prepare is None
                    else _execute_prepared(order, environment, streams, prepare)
                )
                after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        finally:
            for fd in opened:
                os.close(fd)
        try:
            return pid, self._ticks(pid, before, after)
        except OSError as error:
            os.killpg(pid, signal.SIGKILL)
            raise SpawnFailed("fork", error.errno or errno.EIO, f"/proc/{pid}/stat") from error

    def _preparation(self, order: Message, environment: dict[bytes, bytes], opened: list[int]) -> Preparation:
        key = order.get("sockets")
        handed = self._sockets(key) if key else ()
        if key and not handed:
            raise SpawnFailed("socket", errno.ENOTCONN, key)
        return Preparation(order, environment, handed, self._devnull, opened)

    @contextlib.contextmanager
    def _entered(self, order: Message) -> Iterator[None]:
        """Be for a moment where the child begins, and how; what is for a user's rights to reach, that child does."""
        if order.get("user") is not None:
            yield
            return
        cwd, umask = order.get("cwd"), order.get("umask")
        if cwd is not None:
            try:
                os.chdir(raw(cwd))
            except OSError as error:
                raise SpawnFailed("cwd", error.errno or errno.EIO, cwd) from error
        before = None if umask is None else os.umask(umask)
        try:
            yield
        finally:
            if before is not None:
                os.umask(before)
            if cwd is not None:
                try:
                    os.chdir(self._directory)
                except OSError:  # nobody may enter it any more
                    os.chdir("/")

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
    """What is opened with the keeper's own rights; what a user's rights are for is opened in the child."""

    def stream(what: str, otherwise: int) -> int:
        path = order.get(what)
        if path is None or (order.get("user") is not None and not (what == "stdout" and order.get("own_output"))):
            return otherwise
        opened.append(open_stream(what, path))
        return opened[-1]

    stdin, stdout = stream("stdin", devnull), stream("stdout", devnull)
    return stdin, stdout, stream("stderr", stdout)


def _is_plain(order: Message) -> bool:
    """Whether the child has nothing to do but to execute the program."""
    asked = ("limits", "low_priority_io", "globbing", "sockets")
    return order.get("nice") is None and order.get("user") is None and not any(map(order.get, asked))


def _execute(order: Message, environment: dict[bytes, bytes], streams: tuple[int, int, int]) -> int:
    """Start what asks for nothing more, for a third of the processor's time that ``Popen`` takes.

    No descriptor has to be closed in the child: all of the keeper's close by themselves when it executes the program.
    """
    argv = [raw(argument) for argument in order["argv"]]
    program = order.get("program") or order["argv"][0]
    moves = [(os.POSIX_SPAWN_DUP2, stream, number) for number, stream in enumerate(streams)]
    failure = errno.ENOENT
    for path in _candidates(raw(program), environment):
        try:
            return os.posix_spawn(path, argv, environment, file_actions=moves, setsid=True, setsigdef=_IGNORED)
        except OSError as error:
            number = error.errno or errno.EIO
            if number in SHORTAGE:
                raise SpawnFailed("fork", number, "") from error
            if failure in (errno.ENOENT, errno.ENOTDIR):
                failure = number
    raise SpawnFailed("program", failure, program)


def _candidates(program: bytes, environment: dict[bytes, bytes]) -> list[bytes]:
    """What a program's name may stand for, as execvp(3) has it; where that is nothing, all that it could have been."""
    if b"/" in program:
        return [program]
    directories = environment.get(b"PATH", os.fsencode(os.defpath)).split(b":")
    paths = [os.path.join(directory, program) for directory in directories]
    # To look costs less than a child that finds nothing.
    return [path for path in paths if os.access(path, os.F_OK)] or paths


def _execute_prepared(
    order: Message, environment: dict[bytes, bytes], streams: tuple[int, int, int], prepare: Preparation
) -> int:
    program = order.get("program") or order["argv"][0]
    prepare.begin()
    try:
        process = subprocess.Popen(
            [raw(argument) for argument in order["argv"]],
            executable=raw(program),
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            env=environment,
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509 - there is one thread
        )
    except OSError as error:
        number = error.errno or errno.EIO
        raise SpawnFailed("fork" if error.filename is None else "program", number, program) from error
    except subprocess.SubprocessError as error:
        raise prepare.failure() from error
    finally:
        in_time = prepare.end()
    if not in_time:
        process.wait()
        raise SpawnFailed("user", errno.ETIME, str(order["user"]["uid"]))
    process.returncode = 0  # or Popen would list it, and poll the whole list at each start
    return process.pid


def _own_directory() -> int:
    """A descriptor of the directory that this process is in; of the root, and there, where it could not come back."""
    try:
        fd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        os.chdir(fd)
    except OSError:
        os.chdir("/")
        fd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return fd
