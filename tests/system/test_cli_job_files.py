"""Job files as a person uses them, against a real launcher."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.system.launcher_host import Host

TWO = """\
[[Jobs]]
Label = "web/a"
ProgramArguments = ["sleep", "120"]
KeepAlive = true

[[Jobs]]
Label = "web/b"
ProgramArguments = ["sleep", "120"]
"""


@pytest.fixture
def file(host: Host) -> Path:
    path = host.place / "web.toml"
    path.write_text(TWO)
    path.chmod(0o644)
    return path


def test_load_starts_the_jobs_of_a_file_and_leaves_alone_what_is_loaded(host: Host, file: Path) -> None:
    """[F7]"""
    first = host.launch("load", str(file))
    pids = {label: job["pid"] for label, job in host.jobs().items()}
    assert first.stdout == "".join(f"{label}: running, pid {pid}\n" for label, pid in pids.items())
    assert list(pids) == ["web/a", "web/b"]
    again = host.launch("load", str(file))
    assert again.stdout == "".join(f"{label}: unchanged, running, pid {pid}\n" for label, pid in pids.items())
    assert {label: job["pid"] for label, job in host.jobs().items()} == pids


def test_a_job_that_is_loaded_with_another_spec_is_refused_or_replaced(host: Host, file: Path) -> None:
    """[F7]"""
    host.launch("load", str(file))
    before = host.jobs()
    file.write_text(TWO.replace('["sleep", "120"]\nKeepAlive', '["sleep", "121"]\nKeepAlive'))
    refused = host.launch("load", str(file), check=False)
    assert refused.returncode == 1
    assert refused.stdout == f"web/b: unchanged, running, pid {before['web/b']['pid']}\n"
    assert refused.stderr == (
        f"launch: {file}:1: web/a is loaded with another spec, which differs in argv; give --replace, or first: "
        "launch unload web/a\n"
    )
    assert host.job("web/a")["pid"] == before["web/a"]["pid"]
    replaced = host.launch("load", "--replace", str(file))
    after = host.job("web/a")
    assert replaced.stdout.startswith(f"web/a: replaced, running, pid {after['pid']}\nweb/b: unchanged, running, pid")
    assert (after["argv"], host.job("web/b")["pid"]) == (["sleep", "121"], before["web/b"]["pid"])


def test_one_wrong_file_and_nothing_is_loaded(host: Host, file: Path) -> None:
    """[F4] [F7]"""
    (host.place / "zz.json").write_text('{"Label": "z",\n "Program": "sleep", "KeepAlive": "yes"}')
    run = host.launch("load", str(file), str(host.place / "zz.json"), check=False)
    assert run.returncode == 2
    assert run.stderr == (
        f"launch: {host.place}/zz.json:2: KeepAlive: must be a boolean, or dictionary (KeepAlive); it is 'yes'\n"
    )
    assert host.jobs() == {}


def test_a_refused_job_does_not_hinder_the_rest(host: Host, file: Path) -> None:
    """[F3] [F7]"""
    file.write_text('[[Jobs]]\nLabel = "bad"\nProgram = "/no/such"\nOnDemand = true\n\n' + TWO)
    run = host.launch("load", "--json", str(file), check=False)
    assert run.returncode == 1
    told = [(each["label"], each["result"], each["error"]) for each in json.loads(run.stdout)]
    assert told == [
        ("bad", "refused", "io.relaunch.Launcher.StartFailed"),
        ("web/a", "loaded", None),
        ("web/b", "loaded", None),
    ]
    warning, refusal = run.stderr.splitlines()
    assert warning == (f"launch: warning: {file}:4: Jobs[0].OnDemand: not supported: KeepAlive has taken its place")
    assert refusal.startswith(f"launch: {file}:1: ")


def test_a_directory_is_loaded_and_what_is_disabled_is_left_out(host: Host) -> None:
    """[F1] [F7] [F12]"""
    directory = host.place / "jobs"
    directory.mkdir(mode=0o755)
    original = '{"Label": "a", "Program": "sleep", "ProgramArgs": ["120"], "Disabled": false}'
    (directory / "a.json").write_text(original)
    (directory / "b.json").write_text(original.replace('"a"', '"b"').replace("false", "true"))
    assert host.launch("load", str(directory)).stdout.splitlines() == [
        f"a: running, pid {host.job('a')['pid']}",
        "b: disabled, and not loaded",
    ]
    assert host.launch("unload", f"{directory}/").stdout == "a: unloaded\n"
    assert host.jobs() == {}


def test_load_takes_what_was_applied_for_what_it_is(host: Host, file: Path) -> None:
    """[F7] Whoever applied a job is not what it is."""
    host.launch("apply", str(file))
    pid = host.job("web/a")["pid"]
    assert host.launch("load", str(file)).stdout.startswith(f"web/a: unchanged, running, pid {pid}\n")


def test_what_would_wait_for_ever_is_not_loaded_or_warned_of(host: Host, file: Path) -> None:
    """[F7] A circle may go through what is loaded already."""
    one = '[[Jobs]]\nLabel = "{}"\nProgramArguments = ["sleep", "120"]\nDependsOn = ["{}"]\n'
    file.write_text(one.format("a", "b") + one.format("b", "a"))
    run = host.launch("load", str(file), check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith(f"launch: {file}:")
    assert "DependsOn goes round in a circle: " in run.stderr
    assert host.jobs() == {}
    file.write_text(one.format("a", "b"))
    run = host.launch("load", str(file))
    assert run.stdout == "a: waiting\n"
    assert run.stderr == (
        f"launch: warning: {file}:1: DependsOn names b, which no job here has; it waits for one that is ready\n"
    )
    file.write_text(one.format("b", "a"))
    assert host.launch("load", str(file), check=False).returncode == 2
    file.write_text(TWO.replace("web/b", "b"))
    assert host.launch("load", str(file)).stderr == ""
    host.wait_for(lambda: host.job("a")["state"] == "running", what="what it waits for is there")


def test_an_interval_that_the_throttle_makes_longer_is_warned_of(host: Host, file: Path) -> None:
    """[F7] [S29]"""
    one = '[[Jobs]]\nLabel = "{}"\nProgram = "true"\nStartInterval = 2\n'
    file.write_text(one.format("a") + one.format("b") + "ThrottleInterval = 1\n")
    run = host.launch("load", str(file))
    assert run.stderr == (
        f"launch: warning: {file}:1: StartInterval is 2 s, but ThrottleInterval, 10 s, lets it start no sooner after "
        "its last start\n"
    )
    assert run.stdout == "a: waiting\nb: waiting\n"


def test_load_waits_until_all_are_ready_and_names_those_that_are_not(host: Host, file: Path) -> None:
    """[F7] [S36]"""
    ready = (
        '[[Jobs]]\nLabel = "{}"\nProgramArguments = ["sh", "-c", "sleep 0.3; echo {}; exec sleep 120"]\n'
        'Ready = {{LogLine = "up"}}\n'
    )
    file.write_text(TWO + ready.format("r", "up"))
    lines = host.launch("load", "--wait-ready", str(file)).stdout.splitlines()
    assert lines[0].startswith("web/a: running, pid")
    assert lines[2:] == [f"r: ready, pid {host.job('r')['pid']}"]
    file.write_text(ready.format("never", "no"))
    run = host.launch("load", "--json", "--wait-ready", "--ready-timeout", "0.2", str(file), check=False)
    (told,) = json.loads(run.stdout)
    assert (run.returncode, told["result"], told["error"]) == (1, "loaded", "io.relaunch.Launcher.NotReady")
    assert run.stderr.startswith(f"launch: {file}:1: never")


def test_jobs_of_other_hosts_are_for_apply(host: Host, file: Path) -> None:
    """[F7]"""
    file.write_text('Hosts = "n[1-3]"\n' + TWO)
    run = host.launch("load", str(file), check=False)
    assert run.returncode == 2
    assert run.stderr == f"launch: {file}:2: web/a has Hosts; use: launch apply {file}\n"


def test_unload_ends_and_forgets_by_file_label_or_pattern(host: Host, file: Path) -> None:
    """[F8]"""
    host.launch("load", str(file))
    for label in ("c", "d", "e"):
        host.launch("submit", "-l", label, "-p", "sleep", "120")
    told = host.launch("unload", "web.toml", "c", "[de]", cwd=host.place).stdout.splitlines()
    assert sorted(told) == [f"{label}: unloaded" for label in ("c", "d", "e", "web/a", "web/b")]
    assert host.jobs() == {}
    again = host.launch("unload", str(file), check=False)
    assert again.returncode == 1
    assert "web/a" in again.stderr


def test_save_writes_what_submit_would_start_and_load_starts_it(host: Host) -> None:
    """[F9]"""
    options = ("--env", "A=b", "--umask", "027", "--limit", "nofile=64:128", "--keep-alive", "--stdout", "out")
    typed = ("-l", "web", *options, "-p", "sleep", "120")
    for name in ("web.toml", "web.json", "web.plist"):
        assert host.launch("save", "-o", name, *typed, cwd=host.place).stdout == ""
        host.launch("load", name, cwd=host.place)
        loaded = json.loads(host.launch("status", "--json", "web").stdout)["spec"]
        assert loaded == {
            "label": "web", "argv": ["sleep", "120"], "cwd": str(host.place), "env": {"A": "b"}, "umask": 0o027,
            "limits": {"nofile": "64:128"}, "keep_alive": True, "stdout": f"{host.place}/out",
        }  # fmt: skip
        host.launch("submit", "-l", "other", *options, "-p", "sleep", "120", cwd=host.place)
        submitted = json.loads(host.launch("status", "--json", "other").stdout)["spec"]
        assert {**submitted, "label": "web"} == loaded
        host.launch("unload", "web", "other")


def test_save_writes_what_is_loaded(host: Host, file: Path) -> None:
    """[F9]"""
    host.launch("load", str(file))
    for arguments in (["web/a"], ["--format", "toml", "web/*"], ["-o", "all.plist", "web/a", "web/b"]):
        saved = host.launch("save", *arguments, cwd=host.place).stdout
        name = (
            "all.plist" if "-o" in arguments else "all.toml" if "toml" in saved or "[[Jobs]]" in saved else "all.json"
        )
        if name != "all.plist":
            (host.place / name).write_text(saved)
        unchanged = host.launch("load", name, cwd=host.place).stdout
        assert unchanged.count("unchanged") == (1 if arguments == ["web/a"] else 2)


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["save"], "give a program with -p, or the label of a job that is loaded"),
        (["save", "-p", "sleep"], "a label is missing; give it with -l"),
        (["save", "x", "-l", "a", "-p", "sleep"], "either a program or the label of a job that is loaded"),
        (["save", "--nice", "3", "x"], "--nice means nothing without a program"),
        (["save", "--format", "yaml", "x"], "'yaml' is no format; there are json, toml, plist, binary"),
        (["save", "-o", "x.conf", "--format", "toml", "-l", "a", "-p", "sleep"], "the name of a job file ends with"),
        (["save", "-o", "x.json", "--format", "toml", "-l", "a", "-p", "sleep"], "x.json:1: no JSON"),
        (["-H", "n1", "save", "x"], "save is not for hosts; leave out -H"),
        (["-H", "n1", "load", "x.json"], "load is not for hosts; leave out -H"),
        (["-H", "n1", "unload", "x.json"], "with -H, jobs are unloaded by label; a file is of this host"),
        (["load", "gone.json"], "gone.json: No such file or directory"),
    ],
)
def test_what_makes_no_sense_is_said_and_nothing_is_written(place: Host, typed: list[str], line: str) -> None:
    """[F7] [F8] [F9]"""
    run = place.launch(*typed, check=False, cwd=place.place)
    assert (run.returncode, run.stdout) == (2, "")
    assert line in run.stderr
    assert not list(place.place.glob("x.*"))


def test_other_hosts_named_in_the_environment_are_not_meant(host: Host, file: Path) -> None:
    """[F8]"""
    elsewhere = {"LAUNCH_HOSTS": "nowhere.invalid"}
    host.launch("load", str(file), env=elsewhere)
    assert host.launch("save", "web/a", env=elsewhere).stdout
    assert list(host.jobs()) == ["web/a", "web/b"]


def test_schema_prints_what_the_documentation_has(place: Host) -> None:
    """[F10]"""
    docs = Path(__file__).resolve().parents[2] / "docs"
    assert place.launch("schema").stdout == (docs / "job-file.schema.json").read_text("utf-8")


def test_a_local_list_imports_nothing_of_job_files() -> None:
    """A command is quick because it loads nothing that it does not need."""
    code = (
        "import sys; from relaunch.cli.recogniser import recognise; recognise(['list']); import relaunch.cli.list; "
        "print([name for name in sys.modules if 'jobfile' in name or name == 'plistlib'])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
