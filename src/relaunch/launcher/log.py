"""The launcher's log, on standard error: a line is left out rather than waited for.

Standard error may be a terminal that is halted, or a pipe that nobody reads; jobs are supervised all the same. Refuses
to know what is logged.
"""

import logging
import os
import select

_STDERR = 2


class Log(logging.Handler):
    """Writes what there is room for, and how many lines there was none for."""

    def __init__(self) -> None:
        super().__init__()
        self._left_out = 0
        self._look = select.poll()
        self._look.register(_STDERR, select.POLLOUT)

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        if not self._look.poll(0):
            self._left_out += 1
            return
        text = f"{self.format(record)}\n"
        if self._left_out:
            text = f"{self._left_out} lines were left out here, for nobody read them\n{text}"
            self._left_out = 0
        rest = text.encode("utf-8", "backslashreplace")
        try:
            while rest and self._look.poll(0):
                # So much at once never blocks where there is room.
                rest = rest[os.write(_STDERR, rest[: select.PIPE_BUF]) :]
        except OSError:
            return  # there is nobody to tell
