"""Job files as commands take them: what means nothing in them is said, and other hosts' jobs are refused.

Knows how a path is told from a label. Refuses to know what is done with jobs.
"""

from __future__ import annotations

import os

from relaunch.cli.output import say
from relaunch.errors import BadJobFile
from relaunch.jobfile import read_paths
from relaunch.jobfile.decoding import SUFFIXES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from relaunch.jobfile import Entry


def read_here(paths: Iterable[str]) -> list[Entry]:
    """The jobs of files, which are all for this host.

    Raises:
        BadJobFile: A file is wrong, or has jobs for other hosts.
    """
    files = read_paths(paths)
    for file in files:
        for warning in file.warnings:
            say(f"warning: {warning}")
        for entry in file.entries:
            if entry.hosts:
                raise BadJobFile(f"{entry.place}: {entry.spec.label} has Hosts; use: launch apply {file.path}")
    return [entry for file in files for entry in file.entries]


def is_path(text: str) -> bool:
    """Whether a text that may be a label or a glob is the path of a job file."""
    if text.startswith(("/", "./", "../")) or text.endswith("/") or text.lower().endswith(SUFFIXES):
        return True
    return "/" in text and os.path.isfile(text)
