"""A program: whether a regular expression is found in one of some lines, asked and answered over standard input.

A process of its own, since an expression can take longer than the universe has been there, and stops every thread of
Python meanwhile. What takes too much of the processor is ended by the kernel, with this process. Standard library only:
it is started without site-packages. Refuses to know whose lines these are.

A question is two lengths in bytes, then the expression and the lines, in UTF-8; its answer is one byte.
"""

import os
import re
import signal
import struct

LENGTHS = struct.Struct("!II")
FOUND, NOT_FOUND = b"+", b"-"
CPU_S_MAX = 0.25
"""For all lines of a question."""


def main() -> None:
    """Answer until nobody asks any more."""
    with open(0, "rb", closefd=False) as asked:
        while True:
            head = asked.read(LENGTHS.size)
            if len(head) < LENGTHS.size:
                return
            pattern_bytes, lines_bytes = LENGTHS.unpack(head)
            pattern = asked.read(pattern_bytes).decode("utf-8", "surrogatepass")
            lines = asked.read(lines_bytes).decode("utf-8", "replace").split("\n")
            signal.setitimer(signal.ITIMER_VIRTUAL, CPU_S_MAX)
            expression = re.compile(pattern)
            found = any(expression.search(line.removesuffix("\r")) for line in lines)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            os.write(1, FOUND if found else NOT_FOUND)


if __name__ == "__main__":
    main()
