"""The definite parser, argparse built from the table: help, and one line for what is wrong.

Knows argparse. Refuses to know any command by name: all that it says comes from the table.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from relaunch.cli.grammar import BY_NAME, COMMANDS, GLOBAL, PROGRAM, Argument, Command, Option, split_program
from relaunch.cli.output import write
from relaunch.errors import Usage

if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments

DESCRIPTION = "Starts processes on this host or others, keeps them, and tells at once when one ends."
EPILOG = """\
HOSTS are names as ssh takes them, node sets of ClusterShell such as node[1-64] or @group, or ^FILE; without -H, what
LAUNCH_HOSTS says. In labels and programs, {host}, {index}, {count} and {hosts} then stand for a host, its number, how
many there are, and all of them. At a terminal a line says who is waited for, and what goes wrong is told at once;
the rest is told at the end, the same answers in one line. With --json each answer is told as it comes.

exit status: 0 done, 1 refused, 2 wrong usage, 3 no answer from a launcher, or one whose outcome is unknown,
4 some hosts did well and others did not

example:
  launch serve --background
  launch submit -l p1 -p sleep 120
  launch list
  launch stop p1
  launch -H 'node[1-64]' list"""
_MISPLACED_HOSTS = ("unrecognized arguments: -H", "unrecognized arguments: --hosts")
_STRAY = "unrecognized arguments: "
PROGRAM_METAVAR = ("PROGRAM", "ARG")
PROGRAM_LAST = "give the program last: -p PROGRAM ARG..., or -- PROGRAM ARG..."


class Parser(argparse.ArgumentParser):
    """An argument parser that raises what is wrong, and prints help the way that commands print."""

    hint = ""
    """What to add to an error."""
    stray = ""
    """What to add where a word is one too many."""

    def error(self, message: str) -> NoReturn:
        """Raise the error as one line."""
        command = self.prog.partition(" ")[2]
        start = f"{command}: " if command else ""
        hint = self.hint
        if message.startswith(_MISPLACED_HOSTS):
            hint = f"; hosts are named before the command: launch -H HOSTS {command}"
        elif self.stray and message.startswith(_STRAY) and not message.startswith(f"{_STRAY}-"):
            hint = f"; {self.stray}"
        raise Usage(f"{start}{message}{hint}; see: {self.prog} --help")

    def _print_message(self, message: str, file: object = None) -> None:
        write(message)


def parse(typed: Sequence[str]) -> "tuple[Command, Arguments]":
    """The command and its arguments.

    Raises:
        Usage: What is typed is wrong; the line says what.
        SystemExit: Help was asked for and has been printed.
    """
    name = typed[0] if typed else ""
    if name == "--version":
        return parse(["version", *typed[1:]])
    command = BY_NAME.get(name)
    if command is None:
        if name in ("-h", "--help"):
            _top().parse_args(["--help"])
        if name.startswith("-"):
            raise Usage(f"there is no option {name!r}; see: launch --help")
        raise Usage(
            f"there is no command {name!r}; see: launch --help" if typed else "a command is missing; see: launch --help"
        )
    parser = Parser(**_settings(command))
    parser.stray = command.stray
    add_parts(parser, command)
    ours, program = split_program(command, typed[1:])
    left_out = program is None and command.takes_program == "?"
    missing = command.takes_program and not left_out and not (program and program[0])
    if missing:
        parser.hint = f"; {PROGRAM_LAST}"
    arguments = vars(parser.parse_intermixed_args(ours))
    for option in command.options:
        if option.repeats and arguments[option.dest] is None:
            arguments[option.dest] = []
    if command.takes_program:
        if missing:
            parser.error("a program is missing")
        arguments[PROGRAM] = program
    return command, arguments


def whole_parser() -> argparse.ArgumentParser:
    """Every command in one parser, for the completion scripts."""
    parser = _top()
    commands = parser.add_subparsers(metavar="COMMAND", dest="command")
    for command in COMMANDS:
        settings = _settings(command) | {"help": command.summary}
        add_parts(commands.add_parser(command.name, **settings), command)
    return parser


def _top() -> Parser:
    width = max(len(command.name) for command in COMMANDS)
    commands = "\n".join(f"  {command.name:{width}}  {command.summary}" for command in COMMANDS)
    parser = Parser(
        prog="launch",
        usage="launch [-H HOSTS] COMMAND ...",
        description=f"{DESCRIPTION}\n\ncommands (each has --help):\n{commands}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    for option in GLOBAL.options:
        _add_option(parser, option)
    return parser


def _settings(command: Command) -> dict[str, Any]:
    summary = f"{command.summary[0].upper()}{command.summary[1:]}."
    return {
        "prog": f"launch {command.name}",
        "usage": _usage(command),
        "description": f"{summary} {command.description}".rstrip(),
        "epilog": f"example:\n  {command.example}",
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "allow_abbrev": False,
    }


def _usage(command: Command) -> str:
    required = [f"{option.flags[0]} {option.metavar}" for option in command.options if option.required]
    shapes = {"": "{}", "?": "[{}]", "*": "[{}...]", "+": "{}..."}
    words = ["launch", command.name, *required, "[options]" if len(command.options) > len(required) else ""]
    words += [shapes[argument.many].format(argument.metavar) for argument in command.arguments]
    if command.takes_program:
        words.append("[{-p | --} PROGRAM [ARG...]]" if command.takes_program == "?" else "{-p | --} PROGRAM [ARG...]")
    return " ".join(filter(None, words))


def add_parts(parser: argparse.ArgumentParser, command: Command) -> None:
    """Give a parser the options and arguments of a command."""
    for argument in command.arguments:
        _add_argument(parser, argument)
    for option in command.options:
        _add_option(parser, option)
    if command.takes_program:
        # For the help and for completion; split_program has taken it away from what is parsed.
        parser.add_argument(
            "-p",
            "--program",
            nargs=argparse.REMAINDER,
            default=argparse.SUPPRESS,
            metavar=PROGRAM_METAVAR,
            help="the program and all that is its own; or write -- before it",
        )


def _add_argument(parser: argparse.ArgumentParser, argument: Argument) -> None:
    settings: dict[str, Any] = {"metavar": argument.metavar, "help": argument.help}
    if argument.many:
        settings["nargs"] = argument.many
    if argument.choices:
        settings["choices"] = argument.choices
    parser.add_argument(argument.dest, **settings).complete = argument.completes  # type: ignore[attr-defined]  # shtab reads it


def _add_option(parser: argparse.ArgumentParser, option: Option) -> None:
    settings: dict[str, Any] = {"dest": option.dest, "help": option.help}
    if not option.metavar:
        settings["action"] = "store_true"
    else:
        settings["metavar"] = option.metavar
        settings["type"] = _typed(option.read)
        settings["required"] = option.required
        if option.repeats:
            settings["action"] = "append"
    parser.add_argument(*option.flags, **settings).complete = option.completes  # type: ignore[attr-defined]  # shtab reads it


def _typed(read: Callable[[str], object]) -> Callable[[str], object]:
    def convert(given: str) -> object:
        try:
            return read(given)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert
