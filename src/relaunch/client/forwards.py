"""Where the files of the ssh connections that stay are, and which socket leads to a host over one.

Knows only what a command needs that finds all of them there. Refuses to make or change any (``masters``). Imports next
to nothing.
"""

from __future__ import annotations

import os

from relaunch.places import runtime_directory

# Of Python 3.12 and of 3.11; the public module has to be asked for OpenSSL's first, and costs ten times as much.
try:
    from _sha2 import sha256  # type: ignore[import-not-found]  # no stubs
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]  # no stubs
    except ImportError:  # pragma: no cover - a Python that is still to come
        from hashlib import sha256

_STEM_DIGITS = 16


def masters_directory() -> str:
    """Where the masters' files are."""
    return os.path.join(runtime_directory(), "ssh")


def stem_of(host: str) -> str:
    """What the names of a host's files begin with."""
    digest: str = sha256(host.encode("utf-8", "surrogateescape")).hexdigest()
    return digest[:_STEM_DIGITS]


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
