"""The keeper's command line: `python -IS .../keeper/__main__.py [--pass-fd N]... [--ready-fd N] -- LAUNCHER ARGV...`.

Makes the package importable, and gives the process standard streams. Refuses to know what the launcher is. The caller
(`launch serve`) has already made this process a child subreaper and, in the background, a session leader.
"""

import os
import sys


def _standard_streams() -> int:
    """A descriptor of /dev/null above 2: whatever the keeper opens later must not pass for a standard stream."""
    while True:
        fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        if fd > 2:
            return fd
        os.set_inheritable(fd, True)


def main(arguments: list[str]) -> int:
    """Run a keeper.

    Args:
        arguments: What follows the program's name. The descriptors named there belong to the keeper from now on.

    Returns:
        The exit status: the launcher's own when it never got up, else the one that it asked for.
    """
    passed: list[int] = []
    ready: int | None = None
    while arguments and arguments[0] != "--":
        option, value, *arguments = arguments
        if option == "--pass-fd":
            passed.append(int(value))
        elif option == "--ready-fd":
            ready = int(value)
        else:
            raise SystemExit(f"relaunch keeper: unknown option {option}")
    if len(arguments) < 2:
        raise SystemExit("relaunch keeper: no launcher given after --")

    devnull = _standard_streams()
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path.insert(0, package)
    from relaunch.keeper.loop import Keeper

    return Keeper(arguments[1:], passed, ready, devnull).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
