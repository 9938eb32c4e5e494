"""``launch apply`` and ``launch diff`` for this host: jobs without ``Hosts``."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.system.launcher_host import Host
from tests.system.test_cli_unreachable import answering, impostor


def write(place: Path, *jobs: dict[str, Any], name: str = "c.json") -> str:
    """Write a job file; gives its path."""
    (place / name).write_text(json.dumps({"Jobs": jobs}, indent=1))
    return str(place / name)


def job(label: str, *argv: str, **more: Any) -> dict[str, Any]:
    return {"Label": label, "ProgramArguments": list(argv or ("sleep", "1000")), **more}


def said(host: Host, *args: str, status: int = 0, env: dict[str, str] | None = None) -> list[str]:
    """What a command says, standard output first; fails where its exit status is another."""
    done = host.launch(*args, check=False, env=env)
    assert done.returncode == status, done.stdout + done.stderr
    return (done.stdout + done.stderr).splitlines()


def test_what_is_applied_twice_changes_nothing_and_what_fails_is_named(host: Host, tmp_path: Path) -> None:
    """[A1] [A2] [A3] [A4] [A11]"""
    two = write(tmp_path, job("b", DependsOn=["a"]), job("a", "awk", "{print}"))
    assert said(host, "diff", two, status=1) == ["here: start a", "here: start b"]
    first = said(host, "apply", two)
    assert [line.partition(",")[0] for line in first[-2:]] == ["here: started a", "here: started b"]
    host.wait_for(lambda: host.job("a")["state"] == "exited")
    pid = host.job("b")["pid"]
    assert said(host, "diff", two, env={"LAUNCH_HOSTS": "nowhere"}) == []
    assert said(host, "apply", two)[-1] == "0 to start, 0 to change, 2 to keep, 0 to stop, on 1 host"
    assert host.job("b")["pid"] == pid
    bad = write(tmp_path, job("a", "/no/such"), job("b", DependsOn=["a"], Nice=1))
    why = "program /no/such: No such file or directory"
    assert said(host, "apply", bad, status=1)[-2:] == [
        f"launch: here: a was not started: {why}",
        "launch: here: not begun: change b",
    ]
    assert host.job("b")["pid"] == pid
    assert said(host, "diff", bad, status=1)[0] == f"here: start a (start-failed, {why})"


def test_files_that_are_wrong_change_nothing(host: Host, tmp_path: Path) -> None:
    """[A1] [A3] [F4]"""
    write(tmp_path, job("a"))
    wrong = write(tmp_path, job("x", DependsOn=["y"]), job("y", DependsOn=["x"]), name="d.json")
    (line,) = said(host, "apply", str(tmp_path), status=2)
    assert line.startswith(f"launch: {wrong}:")
    assert "goes round in a circle" in line
    assert said(host, "apply", f"{tmp_path}/none.toml", status=2) == [
        f"launch: {tmp_path}/none.toml: No such file or directory"
    ]
    slip = write(tmp_path, job("a", Hots="nowhere"), name="e.json")
    for command in ("apply", "diff"):
        (line,) = said(host, command, slip, status=2)
        assert line.endswith("Jobs[0].Hots: is no key that is known here; did you mean Hosts?")
    assert host.jobs() == {}


@pytest.mark.parametrize("command", ["apply", "diff"])
def test_a_launcher_that_is_not_there_or_too_old_is_told_so(place: Host, tmp_path: Path, command: str) -> None:
    """[A4]"""
    file = write(tmp_path, job("a"))
    (line,) = said(place, command, file, status=3)
    assert line.startswith("launch: here: no launcher runs here (")
    assert line.endswith("start one with: launch serve --background")
    reply = {"error": "org.varlink.service.MethodNotFound", "parameters": {"method": "io.relaunch.Launcher.GetSpecs"}}
    with impostor(place, answering(json.dumps(reply).encode() + b"\0")):
        (line,) = said(place, command, file, status=3)
    assert line.endswith("the launcher is too old for this; take a newer one into use with: launch serve --replace")


def test_who_waits_for_jobs_to_be_ready_waits_for_those_that_are_kept(host: Host, tmp_path: Path) -> None:
    """[A4] [A10]"""
    shown = tmp_path / "shown"
    ready = {"Command": ["test", "-e", str(shown)], "Interval": 0.05}
    file = write(tmp_path, job("a", Ready=ready), job("b", DependsOn=["a"]))
    wait = ["apply", "--wait-ready", "--ready-timeout", "0.3", file]
    for verb in ("started", "kept"):
        assert said(host, *wait, status=1)[-2:] == [
            f"launch: here: {verb} a: a is not ready: running",
            f"launch: here: {verb} b: b is not ready: waiting for a",
        ]
    with host.popen("apply", "--wait-ready", file) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("0 to start, 0 to change, 2 to keep"):
            pass
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert err.splitlines() == [
        "launch: here: kept a: interrupted before it was ready",
        "launch: here: kept b: interrupted before it was ready",
    ]
    shown.touch()
    pid = host.job("a")["pid"]
    last = said(host, "apply", "--wait-ready", "--json", file)[-2:]
    assert [(one["do"], one["result"], one["error"]) for one in map(json.loads, last)] == [("keep", "done", None)] * 2
    assert host.job("a")["pid"] == pid


def test_a_job_that_does_not_stay_up_is_not_ready_in_a_roll(host: Host, tmp_path: Path) -> None:
    """[A8]"""
    dies = job("a", "sh", "-c", "sleep 0.2; exit 3")
    roll = ["apply", "--rolling", "1", "--settle", "1"]
    why = "a is not ready: it did not stay up for 1 s: exited, code 3"
    assert said(host, *roll, write(tmp_path, dies), status=1)[-1] == f"launch: here: started a: {why}"
    kept = write(tmp_path, dies | {"KeepAlive": True, "ThrottleInterval": 0})
    assert said(host, *roll, kept, status=1)[-1].startswith(
        "launch: here: changed a: a is not ready: it did not stay up"
    )
    done = write(tmp_path, job("a", "sh", "-c", "sleep 0.2"), job("b"))
    assert said(host, *roll, done)[-1].startswith("here: started b, running")
    refused = "launch: --settle means nothing without --rolling or --wait-ready"
    assert said(host, "apply", "--settle", "1", done, status=2) == [refused]
