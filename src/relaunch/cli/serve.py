"""``launch serve``: makes sure to be the only one, and becomes the keeper, which starts the launcher.

Knows what keeper and launcher are given on their command lines. Refuses to know what they do: it starts them by
path and by name, and imports neither.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import time

from relaunch.cli.claim import hear_jobs, listen, own_lock, prepare_places, take_lock
from relaunch.cli.output import say, write
from relaunch.client.calls import REPLACED_WITHIN_S, get_status, replace
from relaunch.client.quick import Client, encode
from relaunch.errors import NoLauncher, OutcomeUnknown, RelaunchError, ServeFailed, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from relaunch.cli.grammar import Arguments
    from relaunch.cli.over import Over
    from relaunch.cli.results import Told

LOG_NAME = "launcher.log"
LOG_BYTES_MAX = 1024 * 1024
READY = b"ready"
FAILURE_PREFIX = b"error:"
_POLL_S = 0.02
_TAIL_LINES = 5
_TAIL_BYTES = 4096
# <linux/prctl.h>
_PR_SET_CHILD_SUBREAPER = 36


def run(arguments: Arguments) -> int:
    """Serve: in the foreground this process becomes the keeper and this function does not return."""
    if arguments["json"] and not (arguments["background"] or arguments["replace"]):
        raise Usage("serve: --json is for --background and --replace; in the foreground there is no answer")
    if arguments["replace"]:
        with contextlib.suppress(NoLauncher):
            return _replace(arguments)
    path, state = prepare_places()
    lock = take_lock(state, path)
    listener, path, started_by = listen(path)
    passed = {"--listen-fd": listener, "--lock-fd": lock, "--notify-fd": hear_jobs(path)}
    launcher = ["--socket", path, "--state", state, "--started-by", started_by]
    if not arguments["background"]:
        _become_keeper(passed, None, launcher)
    return _serve_in_background(state, path, passed, launcher, as_json=arguments["json"])


def run_over(over: Over, arguments: Arguments) -> int:
    """Make sure that a launcher serves on each of many hosts, in the background; one that runs already is well."""
    from relaunch.cli.remote import serve_all
    from relaunch.cli.results import Results

    results = Results(over, _told, as_json=arguments["json"], value=lambda answer: _wire(*answer))

    def end() -> None:
        unknown = "interrupted; whether a launcher serves there now is unknown"
        results.end({host: OutcomeUnknown(f"{host}: {unknown}") for host in over.hosts})

    results.begin()
    try:
        serve_all(over, results.took, replaced=arguments["replace"], end=end)
    finally:
        results.close()
    return results.status


def _wire(how: str, keeper_pid: int) -> dict[str, object]:
    """What a program is told: ``started``, ``running`` or ``replaced``, and who is the keeper."""
    return {"how": how, "keeper_pid": keeper_pid}


def _told(_host: str, answer: tuple[str, int]) -> Told:
    from relaunch.cli.results import Line, Told

    word, keeper_pid = answer
    words = {"started": "the launcher serves", "running": "it serves already", "replaced": "the launcher was replaced"}
    return Told([Line(f"{words[word]}: keeper pid {keeper_pid}", words[word])])


def _become_keeper(passed: dict[str, int], ready: int | None, launcher: list[str]) -> NoReturn:
    """Replace this program by the keeper's, in the same process.

    The keeper runs isolated and without site-packages (-I -S): it needs neither, and is the smaller for it. The
    launcher finds the package as this program did, save that the current directory is not searched (-P).

    Args:
        passed: Descriptors for every launcher that the keeper starts, by the option that names each; the lock says from
            now on that it is this process's.
        ready: For the first one.
        launcher: The launcher's arguments.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise ServeFailed(f"this process cannot become a child subreaper: {os.strerror(ctypes.get_errno())}")
    import relaunch

    keeper = os.path.join(os.path.abspath(relaunch.__path__[0]), "keeper", "__main__.py")
    argv = [sys.executable, "-I", "-S", keeper]
    own_lock(passed["--lock-fd"])
    for option, fd in passed.items():
        os.set_inheritable(fd, True)
        argv += ["--pass-fd", str(fd)]
        launcher = [*launcher, option, str(fd)]
    if ready is not None:
        os.set_inheritable(ready, True)
        argv += ["--ready-fd", str(ready)]
        launcher = [*launcher, "--ready-fd", str(ready)]
    try:
        os.execv(sys.executable, [*argv, "--", sys.executable, "-P", "-m", "relaunch.launcher", *launcher])
    except OSError as error:
        raise ServeFailed(f"{sys.executable} cannot be executed: {error.strerror}") from None


def _serve_in_background(state: str, path: str, passed: dict[str, int], launcher: list[str], *, as_json: bool) -> int:
    log = os.path.join(state, LOG_NAME)
    log_fd, log_begins = _open_log(log)
    heard, ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        _detach(log_fd)
        os.chdir("/")
        try:
            _become_keeper(passed, ready, launcher)
        except RelaunchError as error:
            os.write(ready, b"%s %s\n" % (FAILURE_PREFIX, error.message.encode("utf-8", "backslashreplace")))
        finally:
            os._exit(1)
    for fd in (ready, log_fd, *passed.values()):
        os.close(fd)
    answer = _hear(heard)
    if answer == READY:
        write(
            encode(_wire("started", pid) | {"socket": path}) + "\n"
            if as_json
            else f"the launcher serves: keeper pid {pid}, socket {path}\n"
        )
        return 0
    if answer.startswith(FAILURE_PREFIX):
        raise ServeFailed(answer.removeprefix(FAILURE_PREFIX).decode("utf-8", "replace").strip())
    for line in _tail(log, log_begins):
        say(line)
    raise ServeFailed(f"the launcher ended before it answered; its log is {log}")


def _detach(log_fd: int) -> None:
    """Leave the session and its streams behind, so that its end is none of ours."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    for fd in (null, log_fd):
        if fd > 2:
            os.close(fd)


def _open_log(log: str) -> tuple[int, int]:
    """The log, set aside first where it has grown; and where in it the new lines will begin."""
    with contextlib.suppress(OSError):
        if os.stat(log).st_size > LOG_BYTES_MAX:
            os.replace(log, f"{log}.1")
    try:
        # Non-blocking, or it would wait for the other end of a FIFO.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(log, flags, 0o600)
    except OSError as error:
        raise ServeFailed(f"log {log} cannot be opened: {error.strerror}") from None
    return fd, os.fstat(fd).st_size


def _hear(heard: int) -> bytes:
    """The launcher's one line; empty where it ended without a word."""
    line = b""
    while not line.endswith(b"\n"):
        data = os.read(heard, 4096)
        if not data:
            break
        line += data
    return line.strip()


def _tail(log: str, begins: int) -> list[str]:
    try:
        with open(log, "rb") as file:
            file.seek(max(begins, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]
    except OSError:
        return []


def _replace(arguments: Arguments) -> int:
    """Have the running launcher's program started anew; done when another one answers."""
    before = Client().call(get_status())["launcher_pid"]
    with contextlib.suppress(OutcomeUnknown):
        Client().call(replace())
    give_up_at = time.monotonic() + REPLACED_WITHIN_S
    while time.monotonic() < give_up_at:
        with contextlib.suppress(OutcomeUnknown):
            now = Client().call(get_status())
            if now["launcher_pid"] != before:
                write(
                    encode(_wire("replaced", now["keeper_pid"]) | {"socket": now["socket"]}) + "\n"
                    if arguments["json"]
                    else f"the launcher was replaced: pid {now['launcher_pid']} after {before}\n"
                )
                return 0
        time.sleep(_POLL_S)
    raise ServeFailed(f"the launcher, pid {before}, was not replaced within {REPLACED_WITHIN_S:.0f} seconds")
