"""The quick recogniser and argparse read the same table, and where the first accepts, both understand the same."""

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relaunch.cli import values
from relaunch.cli.grammar import BY_NAME, COMMANDS, PROGRAM, Command, Option, split_program
from relaunch.cli.parser import parse, whole_parser
from relaunch.cli.recogniser import recognise
from relaunch.client import quick
from relaunch.core import varlink
from relaunch.errors import Usage
from relaunch.fields import DURATION_S_MAX

WORDS = (
    "p1 group/* - -- -p --program -l --label=x --label --json --jso --json=1 -f -fn -n 3 -n3 -5 -1.5 --lines= --env "
    "A=b A=b=c = --env=A= --nice --nice=-5 022 --umask --limit nofile=1:2 --output-max 16M --help -h --version bash é "
    "--timeout 1e3 0.5 nan --signal TERM HUP --keep-alive -x ls -la / \udcff"
).split()
odd_words = st.one_of(st.sampled_from([*WORDS, "a b", "-a b", ""]), st.text(max_size=5))
odd_lines = st.tuples(st.sampled_from([*BY_NAME, "", "lis", "--version"]), st.lists(odd_words, max_size=8)).map(
    lambda parts: [parts[0], *parts[1]]
)


@st.composite
def option_lines(draw: st.DrawFn, option: Option) -> list[str]:
    """An option and, mostly, a value that it takes."""
    flag = draw(st.sampled_from(option.flags))
    if not option.metavar:
        return [flag]
    if flag.startswith("--") and draw(st.booleans()):
        return [f"{flag}={draw(st.sampled_from(WORDS))}"]
    return [flag, draw(st.sampled_from(["5", "A=b", "TERM", "022", "64K", "-5"]))]


@st.composite
def nearly_right_lines(draw: st.DrawFn) -> list[str]:
    """Lines that mostly use what their command has, in any order."""
    command = draw(st.sampled_from(COMMANDS))
    line = [command.name]
    if command.options:
        for option in draw(st.lists(st.sampled_from(command.options), max_size=4)):
            line += draw(option_lines(option))
    if command.arguments:
        for argument in draw(st.lists(st.sampled_from(command.arguments), max_size=3)):
            line.insert(draw(st.integers(1, len(line))), draw(st.sampled_from([*argument.choices, "p1", "HUP"])))
    program = draw(st.sampled_from([[], ["-p", "ls", "-l"], ["--", "-p"]]))
    return [*line, *draw(st.lists(odd_words, max_size=1)), *program]


typed_lines = st.one_of(nearly_right_lines(), odd_lines)


@given(typed_lines)
@example(["submit", "-l", "x", "-p", "ls", "-la", "/"])
@example(["submit", "-l", "x", "--", "-p", "--", "a"])
@example(["submit", "--env", "A=b", "--env", "C=d", "-l", "x", "-p", "env"])
@example(["submit", "--label=--", "-p", "ls"])
@example(["list", "a", "--json", "b"])
@example(["signal", "HUP", "a", "b"])
@example(["stop", "--timeout", "1", "a", "--timeout=2"])
@example(["logs", "-n", "-5", "a"])
def test_whatever_the_recogniser_accepts_argparse_reads_the_same(typed: list[str]) -> None:
    found = recognise(typed)
    if found is not None:
        assert parse(typed) == found


def line_for(command: Command) -> list[str]:
    """A well-formed line that uses every option and argument of a command."""
    samples: dict[Callable[[str], object], str] = {
        values.text: "t", values.whole: "5", values.count: "5", values.seconds: "1.5", values.octal: "022",
        values.size: "64K", values.assignment: "A=b", values.some: "5", values.some_seconds: "1.5",
        values.suspicion: "1.5", values.transport: "tcp", values.some_or_transport: "tcp",
        values.job_format: "toml",
    }  # fmt: skip
    line = [command.name]
    for option in command.options:
        line += [option.flags[-1], samples[option.read]] if option.metavar else [option.flags[0]]
    line += [argument.choices[0] if argument.choices else "word" for argument in command.arguments]
    return [*line, "-p", "prog", "--its-own", "--"] if command.takes_program else line


@pytest.mark.parametrize("command", COMMANDS, ids=list(BY_NAME))
def test_every_well_formed_line_is_recognised(command: Command) -> None:
    typed = line_for(command)
    assert recognise(typed) is not None
    assert recognise(typed) == parse(typed)


@pytest.mark.parametrize(
    "typed", ["list --help", "list -h", "stop", "stop --timeout x p", "list --jso", "nothing", "", "submit -p ls"]
)
def test_what_is_unusual_is_declined(typed: str) -> None:
    assert recognise(typed.split()) is None


def test_what_follows_the_program_is_its_own() -> None:
    ours, program = split_program(BY_NAME["submit"], ["-l", "x", "-p", "ls", "-la", "-p", "--", "--help"])
    assert ours == ["-l", "x"]
    assert program == ["ls", "-la", "-p", "--", "--help"]


@pytest.mark.parametrize(
    ("typed", "part"),
    [
        (["stop"], "PATTERN"),
        (["stop", "--timeout", "soon", "p1"], "'soon' is not a number of seconds"),
        (["submit", "-p", "ls"], "-l/--label"),
        (["submit", "-l", "x"], "a program is missing"),
        (["run", "sleep", "1"], "unrecognized arguments: sleep 1; give the program last: -p"),
        (["submit", "p1", "sleep", "1"], "-l/--label; give the program last: -p"),
        (["submit", "-l", "x", "--env", "A", "-p", "ls"], "NAME=VALUE"),
        (["submit", "-l", "x", "--umask", "9", "-p", "ls"], "octal"),
        (["list", "--jso"], "unrecognized arguments: --jso"),
        (["list", "-H", "host1"], "hosts are named before the command: launch -H HOSTS list"),
        (["logs", "-n", "-5", "a"], "less than nothing"),
        (["frobnicate"], "there is no command 'frobnicate'"),
        (["completion", "csh"], "bash"),
        (["--frobnicate"], "--frobnicate"),
        ([], "a command is missing"),
    ],
)
def test_wrong_usage_is_one_line_that_names_it(typed: list[str], part: str) -> None:
    """[W5][W6]"""
    with pytest.raises(Usage) as caught:
        parse(typed)
    assert part in caught.value.message
    assert "\n" not in caught.value.message
    assert "--help" in caught.value.message


def test_version_is_an_option_too() -> None:
    assert parse(["--version"])[0].name == "version"


def test_the_whole_parser_holds_every_command() -> None:
    text = whole_parser().format_help()
    assert all(command.summary in text for command in COMMANDS)


def test_a_command_line_example_of_every_command_can_be_parsed() -> None:
    for command in COMMANDS:
        words = [word.strip("'") for word in command.example.removeprefix('eval "$(').removesuffix(')"').split()]
        assert words[:2] == ["launch", command.name]
        assert recognise(words[1:]) is not None, command.example


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (values.size, "64k", 65536),
        (values.size, "1G", 2**30),
        (values.size, "10", 10),
        (values.octal, "027", 0o27),
        (values.seconds, ".5", 0.5),
        (values.assignment, "A==b", ("A", "=b")),
        (values.whole, "-5", -5),
        (values.some, "1", 1),
        (values.some_seconds, "0.1", 0.1),
        (values.suspicion, "0.2", 0.2),
        (values.suspicion, "3600", 3600.0),
        (values.transport, "quic", "quic"),
        (values.some_or_transport, "tcp", "tcp"),
        (values.some_or_transport, "12", 12),
    ],
)
def test_values_are_read(read: object, text: str, value: object) -> None:
    assert callable(read)
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (values.size, "M"), (values.size, "-1"), (values.size, "1.5M"), (values.octal, ""), (values.octal, "1000"),
        (values.octal, "0o7"), (values.seconds, "nan"), (values.seconds, "-1"), (values.seconds, "."),
        (values.seconds, "1e3"), (values.seconds, "9" * 30), (values.assignment, "=b"), (values.assignment, "A"),
        (values.whole, "1_0"), (values.whole, "٣"), (values.whole, ""), (values.count, "-1"), (values.text, ""),
        (values.some, "0"), (values.some_seconds, "0"), (values.suspicion, "0.19"), (values.suspicion, "3601"),
        (values.transport, "udp"), (values.some_or_transport, "udp"), (values.some_or_transport, "0"),
    ],
)  # fmt: off
def test_values_that_cannot_be_meant_are_refused(read: object, text: str) -> None:
    assert callable(read)
    with pytest.raises(ValueError, match=r".+"):
        read(text)


def test_bounds_that_quick_commands_cannot_import_are_the_same() -> None:
    assert values.DURATION_S_MAX == DURATION_S_MAX
    assert quick.MESSAGE_BYTES_MAX == varlink.MESSAGE_BYTES_MAX


def test_a_program_is_found_under_one_name() -> None:
    _, arguments = parse(["submit", "-l", "x", "--", "sleep", "1"])
    assert arguments[PROGRAM] == ["sleep", "1"]
