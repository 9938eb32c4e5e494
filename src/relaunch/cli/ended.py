"""The exit status that stands for a job's, as a shell gives it.

Knows numbers only. Refuses to put an end into words (``render``).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

START_FAILED = 1
UNKNOWN = 125
"""As ``timeout`` and ``docker run`` say that the failure is theirs and not the program's."""
SIGNALLED = 128


def exit_status(job: dict[str, Any]) -> int:
    """A finished job's code; 128 and its signal's number; 1 where it could not start; 125 where nobody knows."""
    ended = job.get("exit") or {}
    if ended.get("signal"):
        from relaunch.fields import signal_number

        return SIGNALLED + signal_number(ended["signal"])
    if ended.get("code") is not None:
        return int(ended["code"])
    return START_FAILED if ended.get("reason") == "start-failed" else UNKNOWN
