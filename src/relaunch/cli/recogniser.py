"""Parses what is typed as it should be, straight from the table, and declines everything else.

Knows exact commands, exact options, and values that their reader takes. Refuses to guess: whatever is unusual is for
``parser``, which is slower, decides, and words the error. Where this one accepts, both agree.
"""

from __future__ import annotations

from relaunch.cli.grammar import BY_NAME, PROGRAM, Command, split_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from relaunch.cli.grammar import Arguments


def recognise(typed: Sequence[str]) -> tuple[Command, Arguments] | None:
    """The command and its arguments; None where ``parser`` is to look at it."""
    command = BY_NAME.get(typed[0]) if typed else None
    if command is None:
        return None
    ours, program = split_program(command, typed[1:])
    arguments = command.defaults()
    if command.takes_program:
        left_out = program is None and command.takes_program == "?"
        if not left_out and not (program and program[0]):
            return None
        arguments[PROGRAM] = program
    words = _take_options(command, ours, arguments)
    if words is None or not _place(command, words, arguments):
        return None
    if any(option.required and arguments[option.dest] is None for option in command.options):
        return None
    return command, arguments


def _take_options(command: Command, ours: list[str], arguments: Arguments) -> list[str] | None:
    words: list[str] = []
    rest = iter(ours)
    for word in rest:
        if not word.startswith("-"):
            words.append(word)
            continue
        flag, equals, value = word.partition("=")
        option = command.flags.get(flag)
        if option is None or (equals and not (option.metavar and value and flag.startswith("--"))):
            return None
        if not option.metavar:
            arguments[option.dest] = True
            continue
        if not equals:
            value = next(rest, "-")
            if value.startswith("-"):
                return None
        if value == "--":
            # As a value it is dropped by some versions of argparse.
            return None
        try:
            read = option.read(value)
        except ValueError:
            return None
        if option.repeats:
            arguments[option.dest].append(read)
        else:
            arguments[option.dest] = read
    return words


def _place(command: Command, words: list[str], arguments: Arguments) -> bool:
    for argument in command.arguments:
        if argument.many in ("*", "+"):
            arguments[argument.dest], words = words, []
        else:
            arguments[argument.dest] = words.pop(0) if words else None
        if argument.many in ("", "+") and not arguments[argument.dest]:
            return False
        if argument.choices and arguments[argument.dest] not in argument.choices:
            return False
    return not words
