"""A job's spec out of what is typed after ``submit`` or ``run``.

Knows which option becomes which field, and that paths are meant from where the caller is. Refuses to check values: the
launcher does, for every client.
"""

from __future__ import annotations

import os

from relaunch.cli.grammar import PROGRAM
from relaunch.errors import BadSpec

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
    """
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
    spec["cwd"] = _absolute(arguments["cwd"] or ".")
    for name in _PATHS:
        if arguments[name] is not None:
            spec[name] = _absolute(arguments[name])
    if "/" in spec["argv"][0] and not spec["argv"][0].startswith("/"):
        spec["program"] = _absolute(spec["argv"][0])
    return spec


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except OSError as error:
        raise BadSpec(f"the current directory cannot be told ({error.strerror}); give --cwd an absolute path") from None
