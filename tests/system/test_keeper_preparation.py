"""What a start may ask for beside a program: patterns of file names, low priority of input and output, kept limits."""

import ctypes
import errno
import os
import resource
import sys
from pathlib import Path

import pytest
from tests.system.keeper_process import KeeperProcess, Launcher, exit_of, keeper, output_of, own_bytes

PER_LINUX32 = 8
MIB = 1 << 20


# Patterns


def test_patterns_become_what_they_match(launcher: Launcher, tmp_path: Path) -> None:
    """[S32] In the job's directory, in order, beginning dots left out; all else stays as it is."""
    for name in ("b.txt", "a.txt", "B.txt", ".hidden.txt", "a b.txt", "[x]", "c.log"):
        (tmp_path / name).touch()
    words = ["*.txt", "*.none", "?.log", "[ab].txt", "", "plain", "$HOME", "~", "a\\b", "-*", "\\[x\\]", ".h*"]
    shown = output_of(
        launcher, tmp_path / "out", "sh", "-c", 'printf "%s\\n" "$@"', "sh", *words, cwd=str(tmp_path), globbing=True
    )
    assert shown.split("\n")[:-1] == [
        *("B.txt", "a b.txt", "a.txt", "b.txt"),
        "*.none",
        "c.log",
        *("a.txt", "b.txt"),
        *("", "plain", "$HOME", "~", "a\\b", "-*", "[x]", ".hidden.txt"),
    ]


def test_patterns_are_expanded_at_each_start(launcher: Launcher, tmp_path: Path) -> None:
    """[S32] What is there by then."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / name).touch()
        shown = output_of(launcher, tmp_path / name, "echo", f"{folder}/*", globbing=True)
        assert len(shown.split()) == len(list(folder.iterdir()))


def test_without_it_a_pattern_is_a_word(launcher: Launcher) -> None:
    """[S32] Nothing is expanded that was not asked for."""
    assert exit_of(launcher, "job", "test", "*", "=", "*", cwd="/etc") == 0


def test_many_matches_and_names_that_are_no_text(launcher: Launcher, tmp_path: Path) -> None:
    """[S32] Bytes that are not UTF-8 match, and reach the job; thousands of names do."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(3000):
        (folder / f"{number:04}").touch()
    (folder / os.fsdecode(b"\xff")).touch()
    script = "import os, sys; sys.stdout.buffer.write(b'|'.join(map(os.fsencode, sys.argv[1:])))"
    out = tmp_path / "out"
    fields = {"cwd": str(folder), "globbing": True, "stdout": str(out)}
    assert exit_of(launcher, "job", sys.executable, "-ISc", script, "*", **fields) == 0
    assert out.read_bytes() == b"|".join([*(b"%04d" % number for number in range(3000)), b"\xff"])


def test_a_program_named_by_a_pattern_is_found(launcher: Launcher, tmp_path: Path) -> None:
    """[S32] Where the first argument is the program, what it matches is; else only the argument."""
    (tmp_path / "tool-1").write_text('#!/bin/sh\necho "$0"\n')
    (tmp_path / "tool-1").chmod(0o755)
    pattern = f"{tmp_path}/tool-?"
    assert output_of(launcher, tmp_path / "a", pattern, globbing=True) == f"{tmp_path}/tool-1\n"
    argv = (pattern, "-c", 'echo "$0"')
    assert output_of(launcher, tmp_path / "b", *argv, program="sh", globbing=True) == f"{tmp_path}/tool-1\n"


@pytest.mark.parametrize(
    ("fields", "what", "number", "subject"),
    [
        ({"program": "no-such-tool"}, "program", errno.ENOENT, "no-such-tool"),
        ({"program": "/etc/passwd"}, "program", errno.EACCES, "/etc/passwd"),
        ({"env": {"PATH": "/etc:/no/such"}, "program": "passwd"}, "program", errno.EACCES, "passwd"),
        ({"cwd": "/no/such"}, "cwd", errno.ENOENT, "/no/such"),
        ({"stdin": "/no/such"}, "stdin", errno.ENOENT, "/no/such"),
        ({"argv": ["sleep", "x" * (1 << 20)]}, "program", errno.E2BIG, "sleep"),
    ],
)
def test_a_failed_start_says_the_same_as_without(
    running: KeeperProcess, launcher: Launcher, fields: dict[str, object], what: str, number: int, subject: str
) -> None:
    """[S32] [S23] The child executes the program itself, and its errors are told no less precisely."""
    running.settled()
    descriptors = running.descriptors()
    for globbing in (False, True):
        launcher.spawn("job", "sleep", "1000", **{"globbing": globbing} | fields)
        launcher.expect("failed", what=what, errno=number, subject=subject)
    running.settled()
    assert running.descriptors() == descriptors
    assert running.children() == [launcher.pid]


# Input and output


def test_low_priority_is_the_jobs_alone(running: KeeperProcess, launcher: Launcher, tmp_path: Path) -> None:
    """[S32] The lowest of the ordinary ones, for the job and what it starts; not for the keeper, nor the next job."""
    shown = output_of(launcher, tmp_path / "a", "sh", "-c", "ionice; ionice", low_priority_io=True)
    assert shown == "best-effort: prio 7\n" * 2
    assert "prio 7" not in output_of(launcher, tmp_path / "b", "ionice")
    assert "prio 7" not in output_of(launcher, tmp_path / "c", "ionice", "-p", str(running.pid))


def test_on_an_unknown_machine_low_priority_is_refused(tmp_path: Path) -> None:
    """[S32] [S23] Where the number of the system call is not known, the start fails by name."""
    machine = lambda: ctypes.CDLL(None).personality(PER_LINUX32)  # noqa: E731 - as setarch(8) does
    with keeper(tmp_path, prepare=machine) as running:
        launcher = running.launcher().up()
        called = output_of(launcher, tmp_path / "out", "uname", "-m").strip()
        assert called not in ("x86_64", "aarch64")
        launcher.spawn("job", "true", low_priority_io=True)
        launcher.expect("failed", what="io", errno=errno.ENOSYS, subject=called)
        assert running.children() == [launcher.pid]


def test_the_keeper_stays_small(running: KeeperProcess, launcher: Launcher) -> None:
    """[S32] [S24] What takes memory is loaded by the child."""
    running.settled()
    before = own_bytes(running.pid)
    for number in range(20):
        assert exit_of(launcher, f"job.{number}", "echo", "/*", low_priority_io=True, globbing=True) == 0
    running.settled()
    assert own_bytes(running.pid) - before < MIB // 4


# Limits


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["inherit", "inherit"], (100, 200)),
        (["inherit", 150], (100, 150)),
        (["inherit", 50], (50, 50)),
        ([80, "inherit"], (80, 200)),
        ([200, "inherit"], (200, 200)),
        ([90, 110], (90, 110)),
    ],
)
def test_a_bound_stays_what_it_is(
    running: KeeperProcess, launcher: Launcher, tmp_path: Path, asked: list[object], expected: tuple[int, int]
) -> None:
    """[S32] Soft and hard each; a soft one that stays does so under the hard one that is given."""
    resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (100, 200))
    argv = ("sh", "-c", "ulimit -Sn; ulimit -Hn")
    shown = output_of(launcher, tmp_path / "out", *argv, limits={"nofile": asked})
    assert tuple(map(int, shown.split())) == expected


@pytest.mark.parametrize("soft", [300, None])
def test_a_soft_bound_over_the_inherited_hard_one_is_refused(
    running: KeeperProcess, launcher: Launcher, soft: int | None
) -> None:
    """[S32] [S23]"""
    resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (100, 200))
    launcher.spawn("job", "true", limits={"nofile": [soft, "inherit"]})
    launcher.expect("failed", what="limit", errno=errno.EINVAL, subject="nofile")


def test_infinity_is_no_small_number(running: KeeperProcess, launcher: Launcher, tmp_path: Path) -> None:
    """[S32] An inherited bound that is infinite is cut to the hard one that is given, and only by that."""
    infinity = resource.RLIM_INFINITY
    resource.prlimit(running.pid, resource.RLIMIT_CORE, (infinity, infinity))
    resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (infinity, infinity))
    limits = {"core": ["inherit", 1 << 20], "fsize": ["inherit", None]}
    shown = output_of(
        launcher, tmp_path / "out", "grep", "-E", "core|Max file size", "/proc/self/limits", limits=limits
    )
    assert sorted(line.split("size")[1].split()[:2] for line in shown.splitlines()) == [
        ["1048576", "1048576"],
        ["unlimited", "unlimited"],
    ]
