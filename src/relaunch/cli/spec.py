"""A job's spec out of what is typed after ``submit`` or ``run``.

Knows which option becomes which field, and that paths are meant from where the caller is. Refuses to check values: the
launcher does, for every client.
"""

from __future__ import annotations

import os

from relaunch.cli.grammar import PROGRAM
from relaunch.errors import BadSpec, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from relaunch.cli.grammar import Arguments

_PATHS = ("stdin", "stdout", "stderr")
_SAME = {
    "label": "label",
    "throttle": "throttle_s",
    "stop_timeout": "stop_timeout_s",
    "stop_signal": "stop_signal",
    "umask": "umask",
    "nice": "nice",
    "output_max": "output_bytes_max",
}


def spec_from(arguments: Arguments) -> dict[str, Any]:
    """The spec on the wire.

    Raises:
        BadSpec: There is no current directory to start from.
        Usage: Options do not go together.
    """
    spec = _said(arguments)
    spec["cwd"] = _absolute(arguments["cwd"] or ".")
    for name in _PATHS:
        if arguments[name] is not None:
            spec[name] = _absolute(arguments[name])
    if "/" in spec["argv"][0] and not spec["argv"][0].startswith("/"):
        spec["program"] = _absolute(spec["argv"][0])
    return spec


def spec_elsewhere(arguments: Arguments) -> dict[str, Any]:
    """The spec on the wire for another host, where it means nothing in which directory the caller is.

    Raises:
        BadSpec: A path is not absolute.
        Usage: Options do not go together.
    """
    spec = _said(arguments)
    for name in ("cwd", *_PATHS):
        if arguments[name] is not None:
            if not arguments[name].startswith("/"):
                raise BadSpec(f"--{name} {arguments[name]!r}: with -H a path is the other host's; give an absolute one")
            spec[name] = arguments[name]
    program = spec["argv"][0]
    if "/" in program and not program.startswith("/"):
        raise BadSpec(f"program {program!r}: with -H a path is the other host's; give an absolute one, or a name")
    return spec


def _said(arguments: Arguments) -> dict[str, Any]:
    """What means the same wherever it is said."""
    spec: dict[str, Any] = {"argv": arguments[PROGRAM]}
    for name, field in _SAME.items():
        if arguments[name] is not None:
            spec[field] = arguments[name]
    if arguments["env"]:
        spec["env"] = dict(arguments["env"])
    if arguments["limit"]:
        spec["limits"] = dict(arguments["limit"])
    if arguments["keep_alive"]:
        spec["keep_alive"] = True
    ready = _ready(arguments)
    if ready:
        spec["ready"] = ready
    return spec


def _ready(arguments: Arguments) -> dict[str, Any]:
    """How it shows that it is ready; empty where it does not."""
    ready: dict[str, Any] = {}
    if arguments["ready_command"] is not None:
        ready["command"] = ["/bin/sh", "-c", arguments["ready_command"]]
    if arguments["ready_port"] is not None:
        ready["port"] = arguments["ready_port"]
    if arguments["ready_log"] is not None:
        ready["log_line"] = arguments["ready_log"]
    if arguments["ready_notify"]:
        ready["notify"] = True
    if len(ready) > 1:
        raise Usage("a job is ready in one way: give one of --ready-command, --ready-port, --ready-log, --ready-notify")
    if arguments["ready_timeout"] is not None:
        if ready:
            ready["timeout_s"] = arguments["ready_timeout"]
        elif not arguments.get("wait_ready"):
            raise Usage(
                "--ready-timeout means nothing without a way to be ready, such as --ready-port, or --wait-ready"
            )
    return ready


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except OSError as error:
        raise BadSpec(f"the current directory cannot be told ({error.strerror}); give --cwd an absolute path") from None
