"""``launch doctor`` on this host: what is well, what is not, and what a logout would end."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.system.launcher_host import Host

from relaunch.cli import logout

UID = 4711


def look(host: Host, *args: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit status, and the findings by check."""
    done = host.launch("doctor", "--json", *args, check=False)
    (line,) = map(json.loads, done.stdout.splitlines())
    assert line["host"] == "here"
    return done.returncode, {one["check"]: one for one in line["findings"]}


def test_a_host_that_is_well(host: Host) -> None:
    """[R25]"""
    status, found = look(host)
    assert (status, {one["level"] for one in found.values()} - {"warn"}) == (0, {"ok"})
    assert found["launcher"]["data"]["launcher_pid"] == host.launcher_pid
    assert found["state"]["data"]["path"] == str(host.state)
    assert found["kernel"]["level"] == "ok"
    shown = host.launch("doctor").stdout.splitlines()
    assert [line.split()[1] for line in shown] == [*found]


def test_without_a_launcher_it_says_how_to_start_one(place: Host) -> None:
    """[R25]"""
    status, found = look(place)
    assert status == 1
    assert [name for name, one in found.items() if one["level"] == "fail"] == ["launcher"]
    assert (
        "FAIL  launcher  no launcher runs; start one: launch serve --background\n"
        in place.launch("doctor", check=False).stdout
    )


def test_a_state_directory_that_is_open_to_others_is_told(host: Host) -> None:
    """[R25]"""
    host.state.chmod(0o755)
    status, found = look(host)
    assert status == 1
    assert "is open to others" in found["state"]["text"]
    assert "chmod 700" in found["state"]["advice"]
    host.state.chmod(0o700)


def test_a_port_is_tried_from_here(host: Host) -> None:
    """[R27]"""
    _, found = look(host, "--port", "127.0.0.1:39017")
    assert (found["port"]["level"], found["port"]["text"]) == ("ok", "127.0.0.1:39017 can be reached")


def test_questions_that_are_none_are_answered_so(host: Host) -> None:
    """[R26] The far end goes on."""
    done = host.launch("doctor", "--answer", input='nonsense\n{"ask": "odd"}\n[]\n{"ask": "clock"}\n')
    greeting, *errors, clock = [json.loads(line) for line in done.stdout.split("\0") if line]
    assert greeting["relaunch"]
    assert ["error" in error for error in errors] == [True] * 3
    assert clock["time"] > 1.7e9


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system as systemd has it, with a process of number 5 in a session."""
    for directory in ("run/systemd/system", "etc/systemd/logind.conf.d", "proc/5", "var/lib/systemd/linger"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "proc/5/cgroup").write_text("0::/user.slice/user-4711.slice/session-3.scope\n")
    return tmp_path


def at_logout(root: Path, runtime: str = "/tmp/relaunch-4711") -> tuple[str, str]:
    """Level, and text with advice."""
    finding = logout.look(5, runtime, uid=UID, root=str(root))
    return finding.level, f"{finding.text}; {finding.advice}"


def test_a_session_is_killed_only_where_logind_says_so(root: Path) -> None:
    """[R25] What is dropped in counts, by name; excluded users and comments too."""
    assert at_logout(root)[0] == "ok"
    (root / "etc/systemd/logind.conf").write_text("[Login]\n#KillUserProcesses=yes\n")
    assert at_logout(root)[0] == "ok"
    (root / "etc/systemd/logind.conf").write_text("[Login]\nKillUserProcesses = yes\n")
    level, text = at_logout(root)
    assert level == "warn"
    assert "KillUserProcesses" in text
    assert "enable-linger 4711" in text
    (root / "etc/systemd/logind.conf.d/9.conf").write_text(f"[Login]\nKillExcludeUsers=root {UID}\n")
    assert at_logout(root)[0] == "ok"
    (root / "etc/systemd/logind.conf.d/9.conf").write_text("[Login]\nKillOnlyUsers=somebody\n")
    assert at_logout(root)[0] == "ok"
    (root / "etc/systemd/logind.conf.d/10.conf").write_text("[Login]\nKillUserProcesses=no\n")
    assert at_logout(root)[0] == "ok"


def test_a_socket_in_a_directory_that_goes_with_the_login_is_told(root: Path) -> None:
    """[R25]"""
    level, text = at_logout(root, f"/run/user/{UID}/relaunch")
    assert level == "warn"
    assert "loginctl enable-linger 4711" in text
    (root / "var/lib/systemd/linger" / str(UID)).touch()
    assert at_logout(root, f"/run/user/{UID}/relaunch") == ("ok", "it outlives the login (lingering); ")


def test_a_service_of_the_user_ends_with_the_last_login(root: Path) -> None:
    """[R25]"""
    path = f"0::/user.slice/user-{UID}.slice/user@{UID}.service/app.slice/relaunch.service\n"
    (root / "proc/5/cgroup").write_text(path)
    assert at_logout(root)[0] == "warn"
    shutil.rmtree(root / "run/systemd/system")
    assert at_logout(root) == ("ok", "no systemd here: nothing ends with a login; ")
