"""What it means when ssh ends before ``launch bridge`` has said a word: the error, and whether to try again.

Knows the messages of OpenSSH and of shells, as far as they tell one cause from another. Refuses to run anything.
"""

from relaunch.errors import (
    HostKeyRefused,
    HostUnreachable,
    NotAuthenticated,
    NotInstalled,
    OtherVersion,
    ProtocolBroken,
    TimedOut,
    Unreachable,
)

SSH_FAILED = 255
"""The status by which ssh says that it failed itself; any other is the remote command's."""
_NOT_EXECUTABLE, _NOT_FOUND, _USAGE = 126, 127, 2
_LINE_CHARACTERS_MAX = 300

_KEY = ("host key verification failed", "host key is known", "host identification has changed", "host key for")
_LOGIN = ("permission denied", "too many authentication failures", "no more authentication methods")
_LATE = ("timed out", "not responding")
# Also what the ssh to a jump host says; the one behind it has only noticed then that nobody answers.
_WAY = ("connect to host", "could not resolve", "open failed")
# A server that has too many connections not yet logged in drops some, see MaxStartups in sshd_config(5).
_BUSY = ("kex_exchange_identification", "ssh_exchange_identification", "banner exchange", "connection reset by")
# The master went away, or took no more.
_MASTER = ("mux_client", "control socket", "controlsocket", "master is dead", "shared connection")
_MISSING = ("not found", "no such file")


def failure(host: str, status: int, said: str, *, prompts: bool) -> Unreachable:
    """What to tell of an ssh that has ended.

    Args:
        host: Where it was to go.
        status: Its exit status; negative where a signal ended it.
        said: What it wrote to standard error.
        prompts: Whether a person could be asked.
    """
    line = last_line(said)
    if status == SSH_FAILED:
        return _ssh_failure(host, said, line, prompts=prompts)
    if status < 0:
        return HostUnreachable(f"{host}: ssh was ended by signal {-status}")
    if status in (_NOT_FOUND, _NOT_EXECUTABLE) or _holds(said, _MISSING):
        return NotInstalled(
            f"{host}: its login shell finds no launch ({line or status}); install relaunch there, on the PATH of "
            f"`ssh {host} launch`"
        )
    if status == _USAGE and any(command in said for command in ("bridge", "doctor")):
        return OtherVersion(f"{host}: its launch is an older one that knows no `bridge`; install this version there")
    return ProtocolBroken(f"{host}: its launch said nothing and exited with {status}{line and ': ' + line}")


def _ssh_failure(host: str, said: str, line: str, *, prompts: bool) -> Unreachable:
    if _holds(said, _KEY):
        return HostKeyRefused(
            f"{host}: its key was not accepted ({key_line(said.lower())}); look at it with: ssh {host}"
        )
    if _holds(said, _LOGIN):
        way = "" if prompts else "; here it cannot ask for a passphrase or password: use ssh-add, or"
        return NotAuthenticated(f"{host}: ssh could not log in ({last_line(said, _LOGIN)}){way or ';'} try: ssh {host}")
    if _holds(said, _LATE):
        return TimedOut(f"{host}: no connection in time ({line})")
    return HostUnreachable(f"{host}: no connection ({last_line(said, _WAY) or 'ssh said nothing'})")


def key_line(said: str) -> str:
    """Which of the two it is with the host's key."""
    return "it has changed" if "changed" in said else "it is not known here"


def worth_another_try(status: int, said: str) -> bool:
    """Whether ssh was turned away for the moment: by a busy server, or by a master that was ending."""
    if status != SSH_FAILED or _holds(said, (*_KEY, *_LOGIN, *_LATE, *_WAY)):
        return False
    return not said.strip() or _holds(said, (*_BUSY, *_MASTER))


def is_proxied(said: str) -> bool:
    """Whether ssh had no connection of its own, but went through a jump host or a command."""
    return _holds(said, ("unknown port 65535",))


def last_line(said: str, words: tuple[str, ...] = ()) -> str:
    """The last line that says something, shortened; where one holds one of these words, the last such."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    lines = [line for line in lines if _holds(line, words)] or lines
    return lines[-1][:_LINE_CHARACTERS_MAX] if lines else ""


def _holds(said: str, words: tuple[str, ...]) -> bool:
    said = said.lower()
    return any(one in said for one in words)
