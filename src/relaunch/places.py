"""Where things are on this host: runtime directory, state directory, and the socket in the first.

Knows the rules by which a directory is trusted. Refuses to know what else is in them: whoever owns a file names it.
Imports nothing but ``os`` and the errors: every local command passes through here.
"""

import os

from relaunch.errors import BadPlace

SOCKET_NAME = "launcher.sock"
# sockaddr_un.sun_path holds 108 bytes with its NUL, see unix(7).
SOCKET_PATH_BYTES_MAX = 107


def runtime_directory() -> str:
    """The directory of the socket.

    ``$XDG_RUNTIME_DIR/relaunch``, else ``/run/user/UID/relaunch``, else ``/tmp/relaunch-UID``. The second is what the
    first would say in a login session, so that a shell without it finds the same launcher.
    """
    root = _given("XDG_RUNTIME_DIR")
    if not root:
        root = f"/run/user/{os.getuid()}"
        if not _ours(root):
            return f"/tmp/relaunch-{os.getuid()}"  # noqa: S108 - owner and mode are checked before it is used
    return os.path.join(root, "relaunch")


def _given(name: str) -> str:
    """What a variable says; nothing where that is no absolute path, which the XDG specification has ignored."""
    path = os.environ.get(name, "")
    return path if os.path.isabs(path) else ""


def _ours(path: str) -> bool:
    try:
        return os.lstat(path).st_uid == os.getuid()
    except OSError:
        return False


def socket_path() -> str:
    """The launcher's socket.

    Raises:
        BadPlace: The path is longer than the kernel allows for a socket.
    """
    path = os.path.join(runtime_directory(), SOCKET_NAME)
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        raise BadPlace(
            f"the path of the socket, {path}, is over {SOCKET_PATH_BYTES_MAX} bytes; shorten XDG_RUNTIME_DIR"
        )
    return path


def state_directory() -> str:
    """The directory of journal and output: ``$XDG_STATE_HOME/relaunch/HOST``, else under ``~/.local/state``.

    The host's name is part of it because homes are often shared among the hosts of a cluster.
    """
    root = _given("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(root, "relaunch", os.uname().nodename)


def check_private(path: str) -> None:
    """Make sure that a directory is a real directory, owned by this user and closed to all others.

    Raises:
        BadPlace: It is not there, a symlink, another's, or open to others; the line says which.
    """
    try:
        found = os.lstat(path)
    except OSError as error:
        raise BadPlace(f"directory {path}: {error.strerror}") from None
    kind = found.st_mode & 0o170000
    if kind == 0o120000:
        raise BadPlace(f"directory {path} is a symlink, and is not followed; remove it")
    if kind != 0o040000:
        raise BadPlace(f"{path} is not a directory; remove it")
    if found.st_uid != os.getuid():
        raise BadPlace(f"directory {path} belongs to user {found.st_uid}, not to you ({os.getuid()}); it is not used")
    if found.st_mode & 0o077:
        raise BadPlace(f"directory {path} is open to others (mode {found.st_mode & 0o777:o}); run: chmod 700 {path}")


def make_private(path: str) -> str:
    """The directory itself, made with mode 0700 where it was missing, parents too, and checked.

    Raises:
        BadPlace: It cannot be made or must not be trusted.
    """
    try:
        _make(path)
    except OSError as error:
        raise BadPlace(f"directory {path} cannot be made: {error.strerror}") from None
    check_private(path)
    return path


def _make(path: str) -> None:
    """Make a directory and its parents, each with mode 0700, as the XDG specification has it, whatever the umask."""
    parent = os.path.dirname(path)
    if parent and not os.path.isdir(parent):
        _make(parent)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return


def size_bytes(path: str) -> int:
    """How long a file is; 0 where there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
