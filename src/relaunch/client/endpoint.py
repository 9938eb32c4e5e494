"""Where the launcher is, and whether it may be trusted: the part of connecting that both clients share.

Knows the checks on the socket's directory and on the peer's user, and what each failure to connect means. Refuses to
know what is said over the connection.
"""

from __future__ import annotations

import os
import sys
from _socket import SO_PEERCRED, SOL_SOCKET

from relaunch.errors import BadPlace, NoLauncher, NotPermitted, OutcomeUnknown, RelaunchError
from relaunch.places import check_private, socket_path

UCRED_BYTES = 12

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from relaunch.client.calls import Call

    class HasOptions(Protocol):
        """What can be asked for a socket option."""

        def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
            """As ``socket.socket.getsockopt``."""


def trusted_path(path: str | None = None) -> str:
    """The launcher's socket, its directory verified.

    Args:
        path: A socket elsewhere; None means this user's own launcher.

    Raises:
        NoLauncher: The directory is not there.
        BadPlace: The directory is a symlink, another's, or open to others, or the path is too long.
    """
    if path is None:
        path = socket_path()
    directory = os.path.dirname(path)
    if not os.path.lexists(directory):
        raise no_launcher(path)
    check_private(directory)
    return path


def check_peer(sock: HasOptions, path: str) -> None:
    """Make sure, by the kernel's word, that the other end runs as this user.

    Raises:
        NotPermitted: It is another user's.
    """
    uid = peer(sock)[1]
    if uid != os.getuid():
        raise NotPermitted(f"the launcher at {path} runs as user {uid}, not as you ({os.getuid()}); it is not used")


def peer(sock: HasOptions) -> tuple[int, int]:
    """Process id and user id of the other end, see SO_PEERCRED in unix(7)."""
    credentials = sock.getsockopt(SOL_SOCKET, SO_PEERCRED, UCRED_BYTES)
    return int.from_bytes(credentials[:4], sys.byteorder), int.from_bytes(credentials[4:8], sys.byteorder)


def no_launcher(path: str) -> RelaunchError:
    """The error for a launcher that is not there."""
    return NoLauncher(f"no launcher runs here (no socket at {path}); start one with: launch serve --background")


def connect_failed(error: OSError, path: str) -> RelaunchError:
    """What a failure to connect means."""
    if isinstance(error, FileNotFoundError):
        return no_launcher(path)
    if isinstance(error, ConnectionRefusedError):
        return NoLauncher(
            f"no launcher runs here (nobody listens at {path}); start one with: launch serve --background"
        )
    return BadPlace(f"socket {path}: {error.strerror or error}")


def lost(call: Call, host: str = "") -> RelaunchError:
    """The error for a connection that ended between a call and its answer.

    Args:
        call: What was asked.
        host: The host it was asked of; empty for this one.
    """
    name = call.method.rpartition(".")[2]
    what = f"the connection to {host} was lost" if host else "the launcher went away"
    if not call.changes:
        return OutcomeUnknown(f"{what} before it had answered {name}; ask again")
    look = f"ssh {host} launch list" if host else "launch list"
    return OutcomeUnknown(f"{what} before it answered {name}: whether it was done is unknown; look with: {look}")
