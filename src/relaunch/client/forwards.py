"""Where the files of the ssh connections that stay are, and which socket leads to a host over one.

Knows only names, and the directory. Refuses to make or change any of the files (``masters``). Imports next to nothing.
"""

from __future__ import annotations

import os

from relaunch.client.leftovers import CONTROL
from relaunch.errors import BadPlace
from relaunch.places import SOCKET_PATH_BYTES_MAX, check_private, make_private, runtime_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Of Python 3.12, of 3.11, and the public one, which has to ask OpenSSL first and costs ten times as much.
_HOMES_OF_SHA256 = ("_sha2", "_sha256", "hashlib")
_STEM_DIGITS = 16
# ssh makes the control socket under a longer name first, and renames it: a dot and 16 characters.
_CONTROL_SUFFIX_BYTES = 17


def masters_directory() -> str:
    """Where the masters' files are."""
    return os.path.join(runtime_directory(), "ssh")


def trusted_masters_directory() -> str:
    """Where the masters' files are, verified. Whoever could exchange the directory above could pose as any host.

    Raises:
        BadPlace: One of both is not there, a symlink, another's, or open to others.
    """
    check_private(runtime_directory())
    directory = masters_directory()
    check_private(directory)
    return directory


def stem_made(host: str) -> str:
    """What the paths of a host's files begin with, their directory made where it is missing.

    Args:
        host: Checked already.

    Raises:
        BadPlace: The directory cannot be made or must not be trusted, or its path is too long.
    """
    make_private(runtime_directory())
    make_private(masters_directory())
    stem = os.path.join(trusted_masters_directory(), stem_of(host))
    control = control_socket(stem)
    if len(os.fsencode(control)) + _CONTROL_SUFFIX_BYTES > SOCKET_PATH_BYTES_MAX:
        raise BadPlace(f"the path {control} is too long for a socket of ssh; shorten XDG_RUNTIME_DIR")
    return stem


def control_socket(stem: str) -> str:
    """The control socket of a host's master."""
    return f"{stem}.{CONTROL}"


def stem_of(host: str) -> str:
    """What the names of a host's files begin with."""
    digest: str = _sha256(host.encode("utf-8", "surrogateescape")).hexdigest()
    return digest[:_STEM_DIGITS]


def _found_sha256() -> Any:
    for name in _HOMES_OF_SHA256:
        try:
            return __import__(name).sha256
        except (ImportError, AttributeError):
            continue
    raise ImportError("this Python has no SHA-256")


_sha256 = _found_sha256()


def forwarded_socket(directory: str, host: str) -> str:
    """The socket that leads to a host's launcher; empty where none is known.

    Args:
        directory: ``masters_directory()``, verified.
        host: As it was asked for.
    """
    from relaunch.client.quick import decode

    try:
        with open(os.path.join(directory, f"{stem_of(host)}.json"), "rb", buffering=0) as file:
            record = decode(file.read().decode())
        return str(record["path"]) if record["how"] == "forward" else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""
