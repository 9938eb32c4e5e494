"""What commands say: help, completion, and how a command ends that cannot say it."""

import os
import pty
import signal
import subprocess
import termios
from pathlib import Path

import pytest
from tests.system.launcher_host import LAUNCH, Host

from relaunch import __version__
from relaunch.cli.grammar import COMMANDS, Command


@pytest.fixture
def host(shared: Host) -> Host:
    """Shared by all tests here, each with labels of its own."""
    return shared


@pytest.mark.parametrize("command", COMMANDS, ids=[command.name for command in COMMANDS])
def test_help_of_every_command_has_an_example(place: Host, command: Command) -> None:
    shown = place.launch(command.name, "--help").stdout
    assert shown.startswith(f"usage: launch {command.name}")
    assert f"example:\n  {command.example}\n" in shown
    assert all(flag in shown for option in command.options for flag in option.flags)


def test_help_names_every_command(place: Host) -> None:
    shown = place.launch("--help").stdout
    assert all(f"  {command.name} " in shown and command.summary in shown for command in COMMANDS)
    assert place.launch("-h").stdout == shown


@pytest.mark.parametrize(
    "typed", [[], ["frobnicate"], ["list", "--frobnicate"], ["stop"], ["submit", "-p", "ls"], ["run", "ls"], ["-x"]]
)
def test_wrong_usage_is_one_line_and_status_2(place: Host, typed: list[str]) -> None:
    """[W6]"""
    done = place.launch(*typed, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("launch: ")
    assert done.stderr.count("\n") == 1
    assert "--help" in done.stderr


@pytest.mark.parametrize("rest", [["--version"], ["list", "--help"], ["list"]])
def test_hosts_that_are_none_are_told_whatever_is_typed_behind_them(place: Host, rest: list[str]) -> None:
    """[W6]"""
    done = place.launch("-H", "n[1", *rest, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("launch: -H 'n[1' is no set of hosts: ")


def test_version(place: Host) -> None:
    assert place.launch("version").stdout == place.launch("--version").stdout == f"launch {__version__}\n"


@pytest.mark.parametrize("typed", [["list"], ["list", "--json"], ["--help"], ["version"], ["events"], ["status"]])
def test_a_full_disk_is_told_in_one_line(host: Host, typed: list[str]) -> None:
    host.launch("submit", "-l", "p1", "-p", "sleep", "120")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [LAUNCH, *typed], env=host.env, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "launch: standard output cannot be written: No space left on device\n"


def test_a_closed_output_is_told_in_one_line(host: Host) -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" list >&-', LAUNCH], env=host.env, stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


def test_a_reader_that_goes_away_ends_a_command_silently(host: Host) -> None:
    host.launch("submit", "-l", "p1", "-p", "sh", "-c", "while :; do echo line; done")
    following = host.popen("logs", "-f", "p1")
    assert following.stdout is not None
    assert following.stderr is not None
    assert following.stdout.readline() == "line\n"
    following.stdout.close()
    assert following.stderr.read() == ""
    assert following.wait() == -signal.SIGPIPE


@pytest.mark.parametrize("typed", [["wait", "p1"], ["logs", "-f", "p1"], ["events", "-f"], ["stop", "stubborn"]])
def test_an_interrupt_ends_a_command_silently(fresh: Host, typed: list[str]) -> None:
    """A shell shows 130 for a program that its SIGINT ended."""
    fresh.launch("submit", "-l", "p1", "-p", "sleep", "120")
    fresh.launch("submit", "-l", "stubborn", "-p", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    fresh.wait_for(lambda: fresh.launch("logs", "stubborn").stdout, what="the job to be ready")
    running = fresh.popen(*typed)
    fresh.wait_for(lambda: _asleep(running.pid), what="the command to wait")
    running.send_signal(signal.SIGINT)
    assert running.communicate()[1] == ""
    assert running.returncode == -signal.SIGINT
    fresh.launch("kill", "stubborn")


def _asleep(pid: int) -> bool:
    """Whether a process waits for its socket, as commands do for an answer, alone or beside who reads its output."""
    return any(word in Path(f"/proc/{pid}/wchan").read_text() for word in ("unix_stream", "poll"))


def test_an_unexpected_failure_is_one_line_too_and_shown_on_demand(host: Host) -> None:
    """[W5]"""
    host.launch("submit", "-l", "p1", "-p", "sleep", "120")
    broken = {"PYTHONPATH": str(host.place)}
    (host.place / "relaunch_broken").mkdir()
    (host.place / "sitecustomize.py").write_text(
        "import relaunch.client.quick as q\ndef fail(*a): raise RuntimeError('a\\nb')\nq.Client.call = fail\n"
    )
    done = host.launch("list", check=False, env=broken)
    assert done.returncode == 1
    assert done.stderr == "launch: unexpected RuntimeError: a b; LAUNCH_DEBUG=1 shows where\n"
    done = host.launch("list", check=False, env=broken | {"LAUNCH_DEBUG": "1"})
    assert "Traceback (most recent call last)" in done.stderr


def test_a_terminal_gets_colours_and_whole_lines(host: Host) -> None:
    host.launch("submit", "-l", "p1", "-p", "sh", "-c", "sleep 120", *(["word"] * 50))
    outer, inner = pty.openpty()
    termios.tcsetwinsize(inner, (24, 80))
    try:
        subprocess.run([LAUNCH, "list", "p1"], env=host.env, stdout=inner, check=True)
        shown = os.read(outer, 65536).decode()
        subprocess.run([LAUNCH, "list", "p1"], env=host.env | {"NO_COLOR": "1"}, stdout=inner, check=True)
        plain = os.read(outer, 65536).decode()
    finally:
        os.close(outer)
        os.close(inner)
    assert "\x1b[32mrunning" in shown
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 80


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_names_every_command(place: Host, shell: str) -> None:
    script = place.launch("completion", shell).stdout
    assert all(command.name in script for command in COMMANDS)
    assert "launch list" in script


COMPLETE = """
source /dev/stdin <<< "$(launch completion bash)"
COMP_WORDS=(launch "$@")
COMP_CWORD=$#
COMP_LINE="launch $*"
COMP_POINT=${#COMP_LINE}
_shtab_launch
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["sub"], {"submit", "subscribe", "subscriptions"}),
        (["stop", "group/"], {"group/p1", "group/p2"}),
        (["status", "group/p2"], {"group/p2"}),
        (["stop", "--time"], {"--timeout"}),
        (["signal", "US"], {"USR1", "USR2"}),
    ],
)
def test_bash_completes_commands_options_and_labels(host: Host, typed: list[str], expected: set[str]) -> None:
    for label in ("group/p1", "group/p2", "other"):
        host.launch("submit", "-l", label, "-p", "sleep", "120")
    env = host.env | {"PATH": f"{LAUNCH.parent}:{host.env['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE, "bash", *typed], env=env, capture_output=True, text=True, check=True
    )
    assert {word.strip() for word in done.stdout.split()} == expected


@pytest.mark.parametrize("command", [("events", "-f"), ("logs", "-f", "p1")])
def test_a_reader_that_goes_away_ends_what_is_followed_though_nothing_happens(
    host: Host, command: tuple[str, ...]
) -> None:
    """[W6] As the other end of an ssh session."""
    host.launch("submit", "-l", "p1", "--", "sh", "-c", "echo one; exec sleep 300")
    following = host.popen(*command)
    assert following.stdout is not None
    assert following.stdout.readline()
    following.stdout.close()
    assert following.wait(20) == -signal.SIGPIPE
