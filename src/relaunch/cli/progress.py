"""A line on the terminal that says who is waited for, once that takes a while.

Knows terminals, and the timer that comes whatever else the process does. Refuses to know what is asked.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stubs; the public module imports enum, which costs time
import os
from time import monotonic

from relaunch.cli.output import STDERR, encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

AFTER_S, EVERY_S = 0.5, 1.0
_NAMED_MAX = 64
_COLUMNS = 80
_CLEAR = "\r\x1b[K"


class Progress:
    """The line. It is there only where standard error is a terminal and there are many hosts.

    A timer's signal draws it, which comes in whatever way answers are waited for, and also where none ever comes.

    Args:
        hosts: Who is asked.
        tell: Called before it is drawn; where it has something to tell, it takes the line away first.
    """

    def __init__(self, hosts: Sequence[str], tell: Callable[[], None] = lambda: None) -> None:
        self._waiting = dict.fromkeys(hosts)
        self._count = len(hosts)
        self._tell = tell
        self._shown = False
        self._held = False
        self._begun_at = monotonic()

    def begin(self) -> None:
        """From now on hosts are waited for."""
        self._begun_at = monotonic()
        if self._count > 1 and os.environ.get("TERM") != "dumb" and os.isatty(STDERR):
            _signal.signal(_signal.SIGALRM, self._tick)
            _signal.setitimer(_signal.ITIMER_REAL, AFTER_S, EVERY_S)

    def took(self, host: str) -> None:
        """A host has answered."""
        self._waiting.pop(host, None)

    def hold(self) -> None:
        """Take the line away, and draw none: something else is written."""
        self._held = True
        self.clear()

    def release(self) -> None:
        """It may be drawn again."""
        self._held = False

    def end(self) -> None:
        """Take the line away for good."""
        _signal.setitimer(_signal.ITIMER_REAL, 0.0)
        self.hold()

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            self._put(_CLEAR)
            self._shown = False

    def _tick(self, *_: object) -> None:
        if self._held:
            return
        self._tell()
        if self._waiting:
            self._shown = True
            self._put(_CLEAR + self._line()[: self._columns() - 1])

    def _line(self) -> str:
        names = list(self._waiting)
        if len(names) > _NAMED_MAX:
            named = f"{len(names)}"
        else:
            from relaunch.client.nodesets import fold

            named = fold(names)
        answered, waited_s = self._count - len(names), int(monotonic() - self._begun_at)
        return f"{answered} of {self._count} hosts have answered; waiting {waited_s} s for {named}"

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(STDERR).columns or _COLUMNS
        except OSError:
            return _COLUMNS

    def _put(self, text: str) -> None:
        try:
            os.write(STDERR, encoded(text))
        except OSError:
            # Where the terminal has gone there is nobody to tell.
            _signal.setitimer(_signal.ITIMER_REAL, 0.0)
