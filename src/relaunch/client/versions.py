"""Which versions of relaunch understand one another.

Knows how versions are numbered: before 1.0 two understand one another where MAJOR.MINOR is the same, from 1.0 on where
MAJOR is. Refuses to know how a version is learnt. Imports next to nothing.
"""

from __future__ import annotations

from relaunch import __version__
from relaunch.errors import OtherVersion


def compatible(version: object, ours: str = __version__) -> bool:
    """Whether a launcher of a version may be asked what this one asks."""
    return isinstance(version, str) and _line(version) == _line(ours)


def _line(version: str) -> tuple[str, ...]:
    """The part of a version in which those that understand one another are alike."""
    major, minor, *_ = *version.split("."), "", ""
    return (major, minor) if major == "0" else (major,)


def check_launcher(host: str, version: object) -> None:
    """Make sure that a launcher may be asked.

    Args:
        host: Where it runs.
        version: What it says that it is.

    Raises:
        OtherVersion: It is too old or too new.
    """
    if not compatible(version):
        raise OtherVersion(
            f"{host}: its launcher has version {version}, this one is {__version__}; install this one there, then: "
            f"ssh {host} launch serve --replace"
        )
