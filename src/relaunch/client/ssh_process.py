"""One ssh process: how it is started, waited for under asyncio, and ended.

Knows processes and descriptors. Refuses to know what ssh is called with and what comes of it. Imports next to nothing:
an ssh is to be on its way while everything else is still being loaded.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stubs; the public module imports enum, which costs time
import _socket
import os

from relaunch.client import ssh_command
from relaunch.errors import HostUnreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import Future
    from typing import Self

UNKNOWN = 255
"""In the place of an exit status that nobody knows; ssh's own word for a failure of its own."""
_STDERR = 2
# What Python ignores for itself, its children are not to.
_RESET = (_signal.SIGPIPE, _signal.SIGXFSZ, _signal.SIGCHLD)


class SshProcess:
    """An ssh. Whoever starts it waits for it, or ends it, by ``wait`` or ``end_at_once``.

    Attributes:
        pid: The process.
        returncode: Its exit status, or the negative of the signal that killed it; None while nobody has reaped it.
    """

    def __init__(self, pid: int, pidfd: int, *, leads: bool) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._pidfd = pidfd
        self._leads = leads
        self._ended: Future[None] | None = None

    @classmethod
    def start(
        cls, host: str, command: list[str], streams: tuple[int, int, int], *, prompts: bool, passes_on: bool = False
    ) -> Self:
        """Start one.

        Args:
            host: Named in errors.
            command: The ssh.
            streams: What its standard streams are; descriptors of the caller's.
            prompts: Whether it may ask on the terminal. Else it is in a session of its own: without a terminal it
                cannot be asked on one, nor be interrupted from there.
            passes_on: See ``ssh_command.environment``.

        Raises:
            HostUnreachable: ssh cannot be run.
        """
        environment = ssh_command.environment(prompts=prompts, passes_on=passes_on)
        above = [_above_streams(fd) for fd in streams]
        try:
            actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(above)]
            pid = os.posix_spawnp(
                command[0], command, environment, file_actions=actions, setsid=not prompts, setsigdef=_RESET
            )
        except OSError as error:
            raise no_ssh(error, host) from None
        finally:
            for mine, given in zip(above, streams, strict=True):
                if mine != given:
                    os.close(mine)
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            _kill(pid)
            _reaped(pid)
            raise no_ssh(error, host) from None
        return cls(pid, pidfd, leads=not prompts)

    async def wait(self) -> int:
        """Its exit status, as ``returncode`` has it, once it has ended."""
        import asyncio

        if self.returncode is None:
            if self._ended is None:
                loop = asyncio.get_running_loop()
                self._ended = loop.create_future()
                loop.add_reader(self._pidfd, self._take_end)
            await asyncio.shield(self._ended)
        return self.returncode or 0

    def kill(self, *, with_children: bool = False) -> None:
        """Kill it, if it has not ended.

        Args:
            with_children: Whether that is for what it has started, too, as on the way to a jump host.
        """
        if self.returncode is not None:
            return
        children = _children(self.pid) if with_children and not self._leads else []
        if with_children and self._leads:
            _kill(-self.pid)
        else:
            try:
                _signal.pidfd_send_signal(self._pidfd, _signal.SIGKILL)
            except ProcessLookupError:
                return
        for pid in children:
            _kill(pid)

    def end_at_once(self) -> None:
        """Kill it with its children and reap it; for one that nobody waits for."""
        self.kill(with_children=True)
        self._reap()

    def _take_end(self) -> None:
        import asyncio

        asyncio.get_running_loop().remove_reader(self._pidfd)
        self._reap()
        if self._ended is not None:
            self._ended.set_result(None)

    def _reap(self) -> None:
        if self.returncode is None:
            self.returncode = _reaped(self.pid)
            os.close(self._pidfd)


class SshStream:
    """An ssh whose standard input and output are one stream, and our end of that.

    Attributes:
        process: The ssh.
        stream: Does not wait.
        errors: A file with what the ssh says to standard error; a pipe could be held open by a master that stays.
    """

    def __init__(self, process: SshProcess, stream: _socket.socket, errors: int) -> None:
        self.process = process
        self.stream = stream
        self.errors = errors

    @classmethod
    def start(cls, host: str, command: list[str], *, prompts: bool) -> Self:
        """Start one; the arguments are those of ``SshProcess.start``.

        Raises:
            HostUnreachable: ssh cannot be run.
        """
        try:
            ours, theirs = _socket.socketpair()
        except OSError as error:
            raise no_ssh(error, host) from None
        errors = -1
        try:
            errors = os.memfd_create("ssh")
            process = SshProcess.start(host, command, (theirs.fileno(), theirs.fileno(), errors), prompts=prompts)
        except BaseException as error:
            ours.close()
            if errors >= 0:
                os.close(errors)
            if isinstance(error, OSError):
                raise no_ssh(error, host) from None
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        return cls(process, ours, errors)

    def drop(self) -> None:
        """End it at once, unheard."""
        self.stream.close()
        os.close(self.errors)
        self.process.end_at_once()


def no_ssh(error: OSError, host: str) -> HostUnreachable:
    """The error for an ssh that cannot be run."""
    advice = "; install the OpenSSH client" if isinstance(error, FileNotFoundError) else ""
    return HostUnreachable(f"{host and host + ': '}ssh cannot be run: {error.strerror}{advice}")


def _above_streams(fd: int) -> int:
    """That descriptor, or one of the same file above the standard streams, which are about to be replaced."""
    if fd > _STDERR:
        return fd
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _STDERR + 1)


def _reaped(pid: int) -> int:
    """How a process has ended, once it has; ``UNKNOWN`` where the kernel itself reaps, since SIGCHLD is ignored."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return UNKNOWN


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def _kill(pid: int) -> None:
    """Kill a process, or a group by the negative of its id, where it is there."""
    try:
        os.kill(pid, _signal.SIGKILL)
    except ProcessLookupError:
        return
