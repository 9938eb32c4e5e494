"""``launch save``: writes a job file.

Knows where the file is put. Refuses to know how a format is written (``relaunch.jobfile``).
"""

from __future__ import annotations

import os

from relaunch.cli.grammar import BY_NAME, PROGRAM
from relaunch.cli.output import OutputFailed, write_bytes
from relaunch.cli.spec import spec_from
from relaunch.client.calls import get_specs
from relaunch.client.quick import call_until_answered
from relaunch.errors import Usage
from relaunch.jobfile import parse, write
from relaunch.jobfile.decoding import FORMATS
from relaunch.labels import is_pattern
from relaunch.model import JobSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from relaunch.cli.grammar import Arguments

_OURS = ("output", "format")
# Nobody but its owner may write it, or `load` would refuse it.
_MODE = 0o644


def run(arguments: Arguments) -> int:
    """Write the file of what is typed, or of jobs that are loaded."""
    path = arguments["output"]
    form = arguments["format"] or next((name for name in FORMATS if (path or "").lower().endswith(f".{name}")), "json")
    data = write(_jobs(arguments), form)
    if path is None:
        write_bytes(data)
    else:
        # So that it is known to be read under that name too.
        parse(data, path)
        _put(path, data)
    return 0


def _jobs(arguments: Arguments) -> JobSpec | Sequence[JobSpec]:
    labels = arguments["jobs"]
    if arguments[PROGRAM] is not None:
        if labels:
            raise Usage(f"either a program or the label of a job that is loaded, and not {labels[0]!r} too")
        if arguments["label"] is None:
            raise Usage("a label is missing; give it with -l")
        return JobSpec.from_wire(spec_from(arguments))
    if not labels:
        raise Usage("give a program with -p, or the label of a job that is loaded; see: launch save --help")
    nothing = BY_NAME["save"].defaults()
    for name, value in nothing.items():
        if name not in _OURS and arguments[name] != value:
            raise Usage(f"--{name.replace('_', '-')} means nothing without a program; see: launch save --help")
    specs = [JobSpec.from_wire(spec) for spec in call_until_answered(get_specs(labels))]
    return specs[0] if len(specs) == 1 and not is_pattern(labels[0]) else specs


def _put(path: str, data: bytes) -> None:
    """Put a whole file in the place of another, or leave that one."""
    draft = f"{path}.{os.getpid()}.part"
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
            os.replace(draft, path)
        except OSError:
            os.unlink(draft)
            raise
    except OSError as error:
        raise OutputFailed(f"{path} cannot be written: {error.strerror}") from None
