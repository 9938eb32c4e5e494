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


class Held:
    """While it is entered, a signal waits; left without an error, it raises ``Interrupted`` where one has.

    Attributes:
        entered: Whether it is.
        came: The signal that has, 0 while none has.
    """

    def __init__(self) -> None:
        self.entered = False
        self.came = 0

    def __enter__(self) -> None:
        self.entered = True

    def __exit__(self, kind: object, *_: object) -> None:
        self.entered = False
        if kind is None and self.came:
            raise Interrupted(self.came)


class Interruptible:
    """While it is entered, the first signal that would end the process raises ``Interrupted``; the next one ends it.

    Attributes:
        held: To be entered for what is not to be left half done.
    """

    def __init__(self) -> None:
        self.held = Held()
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in ENDING:
            # As by nohup, or by `&` in a script, some may be ignored.
            if _signal.getsignal(number) == _signal.SIG_DFL:
                self._before[number] = _signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number in self._before:
            _signal.signal(number, _signal.SIG_DFL)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        for each in self._before:
            _signal.signal(each, _signal.SIG_DFL)
        self.held.came = number
        if not self.held.entered:
            raise Interrupted(number)


def die(number: int) -> None:
    """End the process as the signal would have, so that whoever started it sees which: a shell shows 130 for Ctrl-C."""
    _signal.signal(number, _signal.SIG_DFL)
    os.kill(os.getpid(), number)
