"""Text and bytes to standard output, a line to standard error.

Writes to the descriptors themselves: nothing is left in a buffer when the process ends, and no error can come then.
Refuses to know what is said.
"""

import os

from relaunch.errors import one_line

STDOUT, STDERR = 1, 2


class OutputFailed(Exception):
    """Standard output cannot be written, as when its disk is full."""


def write(text: str) -> None:
    """Write text to standard output.

    Raises:
        OutputFailed: It does not take it.
    """
    write_bytes(encoded(text))


def write_bytes(data: bytes) -> None:
    """Write bytes to standard output, all of them.

    Raises:
        OutputFailed: It does not take them.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(STDOUT, rest) :]
        except BlockingIOError:
            _wait_writable()
        except OSError as error:
            raise OutputFailed(f"standard output cannot be written: {error.strerror}") from error


def _wait_writable() -> None:
    # Whoever shares the terminal or pipe with us, ssh for one, may have made it non-blocking.
    import select

    select.select([], [STDOUT], [])


def wait_with_reader(descriptor: int) -> None:
    """Return when there is something to read; end as a write would where nobody reads our output any more."""
    import select
    import signal

    both = select.poll()
    both.register(descriptor, select.POLLIN)
    both.register(STDOUT, 0)  # which tells of its end alone; a file never ends
    while descriptor not in (ready := dict(both.poll())):
        if ready:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGPIPE)


def say(line: str) -> None:
    """Write ``launch: LINE`` to standard error; where that is closed, there is nobody to tell."""
    _write_said(encoded(f"launch: {one_line(line)}\n"))


def _write_said(data: bytes) -> None:
    try:
        os.write(STDERR, data)
    except OSError:
        return


def say_if_room(line: str) -> None:
    """Likewise, but what a halted terminal or a full pipe does not take now is left out: nobody waits for it."""
    import select

    look = select.poll()
    look.register(STDERR, select.POLLOUT)
    if look.poll(0):
        # So much at once never blocks where there is room.
        _write_said(encoded(f"launch: {one_line(line)}\n")[: select.PIPE_BUF])


def encoded(text: str) -> bytes:
    """Text as UTF-8; what came as bytes that are no text (PEP 383) leaves as the same bytes."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")
