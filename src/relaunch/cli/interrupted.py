"""How a signal ends a command that has something to say first.

Knows which signals end a command, and how a process dies by one. Refuses to know what there is to say. Imports next to
nothing, since every command over many hosts passes through here; ``interruption`` is the same for work under asyncio.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stubs; the public module imports enum, which costs time
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Self

ENDING = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP)


class Interrupted(BaseException):
    """A signal came that ends the command.

    Attributes:
        number: Which.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Interruptible:
    """While it is entered, the first signal that would end the process raises ``Interrupted``; the next one ends it."""

    def __init__(self) -> None:
        self._before: dict[int, object] = {}
        self._held = False
        self._came = 0

    def __enter__(self) -> Self:
        for number in ENDING:
            # As by nohup, or by `&` in a script, some may be ignored.
            if _signal.getsignal(number) == _signal.SIG_DFL:
                self._before[number] = _signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number in self._before:
            _signal.signal(number, _signal.SIG_DFL)

    def hold(self) -> None:
        """Have a signal wait: something is being done that is not to be left half done."""
        self._held = True

    def release(self) -> None:
        """Let a signal that has waited be heard.

        Raises:
            Interrupted: One has.
        """
        self._held = False
        if self._came:
            raise Interrupted(self._came)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        for each in self._before:
            _signal.signal(each, _signal.SIG_DFL)
        self._came = number
        if not self._held:
            raise Interrupted(number)


def die(number: int) -> None:
    """End the process as the signal would have, so that whoever started it sees which: a shell shows 130 for Ctrl-C."""
    _signal.signal(number, _signal.SIG_DFL)
    os.kill(os.getpid(), number)
