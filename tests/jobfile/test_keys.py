"""Each key of launchd means what launchd.plist(5) says of it. [F2]

The lists are in the style of those that macOS and Homebrew bring along; each test names the key.
"""

import json

import pytest
from tests.jobfile.lists import job_of, only, plist, spec_of

from relaunch.errors import BadJobFile
from relaunch.jobfile import parse
from relaunch.policy import CalendarEntry, KeepAlive, SocketSpec

HOMEBREW = plist(
    "  <key>KeepAlive</key>",
    "  <true/>",
    "  <key>Label</key>",
    "  <string>homebrew.mxcl.example</string>",
    "  <key>LimitLoadToSessionType</key>",
    "  <array>",
    "    <string>Aqua</string>",
    "    <string>Background</string>",
    "  </array>",
    "  <key>ProgramArguments</key>",
    "  <array>",
    "    <string>/opt/example/bin/example-server</string>",
    "    <string>/etc/example.conf</string>",
    "  </array>",
    "  <key>EnvironmentVariables</key>",
    "  <dict>",
    "    <key>LC_ALL</key>",
    "    <string>C</string>",
    "  </dict>",
    "  <key>RunAtLoad</key>",
    "  <true/>",
    "  <key>StandardErrorPath</key>",
    "  <string>/var/log/example.log</string>",
    "  <key>StandardOutPath</key>",
    "  <string>/var/log/example.log</string>",
    "  <key>WorkingDirectory</key>",
    "  <string>/var/lib/example</string>",
)


def test_a_service_in_the_style_of_homebrew_loads_with_one_warning() -> None:
    """[F1] [F3]"""
    file = parse(HOMEBREW, "homebrew.mxcl.example.plist")
    (entry,) = file.entries
    assert entry.spec.to_wire() == {
        "label": "homebrew.mxcl.example",
        "argv": ["/opt/example/bin/example-server", "/etc/example.conf"],
        "env": {"LC_ALL": "C"},
        "cwd": "/var/lib/example",
        "stdout": "/var/log/example.log",
        "stderr": "/var/log/example.log",
        "keep_alive": True,
        "run_at_load": True,
    }
    assert file.warnings == (
        "homebrew.mxcl.example.plist:9: LimitLoadToSessionType: not supported: there is one kind of session",
    )
    assert file.name == "homebrew.mxcl.example"


def test_label_names_the_job_and_is_required() -> None:
    """[F2] launchd.plist(5): Label."""
    file = parse(plist("<key>Label</key><string>a.b</string><key>Program</key><string>/x</string>"), "p.plist")
    assert only(file).spec.label == "a.b"
    with pytest.raises(BadJobFile, match=r"^p.plist: Label is missing$"):
        parse(plist("<key>Program</key><string>/x</string>"), "p.plist")


def executed(*body: str) -> tuple[str | None, tuple[str, ...]]:
    spec = only(parse(plist("<key>Label</key><string>a</string>", *body), "p.plist")).spec
    return spec.program, spec.argv


ARGUMENTS = "<key>ProgramArguments</key><array><string>example</string><string>-v</string></array>"


def test_program_alone_is_executed_and_is_all_that_is_told() -> None:
    """[F13] launchd.plist(5): Program; required in the absence of ProgramArguments."""
    assert executed("<key>Program</key><string>/bin/true</string>") == (None, ("/bin/true",))
    with pytest.raises(BadJobFile, match="Program or ProgramArguments is missing"):
        executed()


def test_program_arguments_alone_begin_with_what_is_executed() -> None:
    """[F13] launchd.plist(5): ProgramArguments; its first is looked up as execvp(3) does."""
    assert executed(ARGUMENTS) == (None, ("example", "-v"))


def test_program_is_the_first_argument_of_execvp_and_program_arguments_the_second() -> None:
    """[F13] launchd.plist(5): Program, ProgramArguments."""
    assert executed("<key>Program</key><string>/bin/busybox</string>", ARGUMENTS) == ("/bin/busybox", ("example", "-v"))


@pytest.mark.parametrize(
    "body",
    [
        "<key>Program</key><string>bin/true</string>",
        "<key>ProgramArguments</key><array><string>./true</string></array>",
        "<key>Program</key><string></string>",
        "<key>ProgramArguments</key><array/>",
    ],
)
def test_a_path_that_depends_on_a_current_directory_is_refused(body: str) -> None:
    """[F13] launchd.plist(5): the Program key must be an absolute path."""
    with pytest.raises(BadJobFile, match=r"p.plist:6: Program"):
        executed(body)


def test_disabled_is_a_hint_that_it_is_not_to_be_loaded() -> None:
    """[F2] launchd.plist(5): Disabled."""
    assert only(job_of("<key>Disabled</key><true/>")).disabled
    assert not only(job_of("<key>Disabled</key><false/>")).disabled


def test_run_at_load() -> None:
    """[F2] launchd.plist(5): RunAtLoad; false by default."""
    assert spec_of("<key>RunAtLoad</key><true/>").run_at_load
    assert not spec_of().run_at_load


def test_keep_alive_is_true_or_false() -> None:
    """[F14] launchd.plist(5): KeepAlive; false by default."""
    assert spec_of("<key>KeepAlive</key><true/>").keep_alive
    assert not spec_of("<key>KeepAlive</key><false/>").keep_alive
    assert not spec_of().keep_alive


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("<key>SuccessfulExit</key><false/>", KeepAlive(successful_exit=False)),
        ("<key>Crashed</key><true/>", KeepAlive(crashed=True)),
        ("<key>PathState</key><dict><key>/etc/x</key><true/></dict>", KeepAlive(paths={"/etc/x": True})),
        ("<key>OtherJobEnabled</key><dict><key>b</key><false/></dict>", KeepAlive(other_jobs={"b": False})),
        (
            "<key>Crashed</key><true/><key>SuccessfulExit</key><true/>",
            KeepAlive(crashed=True, successful_exit=True),
        ),
        ("", KeepAlive()),
    ],
)
def test_keep_alive_is_a_dictionary_of_conditions(condition: str, kept: KeepAlive) -> None:
    """[F14] launchd.plist(5): KeepAlive and the keys of its dictionary."""
    spec = spec_of(f"<key>KeepAlive</key><dict>{condition}</dict>")
    assert spec.keep_alive_when == kept
    assert not spec.keep_alive


@pytest.mark.parametrize("name", ["NetworkState", "AfterInitialDemand"])
def test_conditions_that_are_not_looked_at_are_named(name: str) -> None:
    """[F3] [F14] launchd.plist(5): NetworkState, AfterInitialDemand."""
    file = job_of(f"<key>KeepAlive</key><dict><key>{name}</key><true/><key>Crashed</key><true/></dict>")
    assert [line for line in file.warnings if f"KeepAlive.{name}: not supported: " in line]
    assert file.entries[0].spec.keep_alive_when == KeepAlive(crashed=True)


SIMPLE = [
    ("LaunchOnlyOnce", "<true/>", "launch_only_once", True),
    ("ThrottleInterval", "<integer>30</integer>", "throttle_s", 30.0),
    ("ExitTimeOut", "<integer>0</integer>", "stop_timeout_s", 0.0),
    ("StartInterval", "<integer>300</integer>", "start_interval_s", 300.0),
    ("AbandonProcessGroup", "<true/>", "abandon_process_group", True),
    ("StandardInPath", "<string>/dev/zero</string>", "stdin", "/dev/zero"),
    ("StandardOutPath", "<string>/tmp/o</string>", "stdout", "/tmp/o"),
    ("StandardErrorPath", "<string>/tmp/e</string>", "stderr", "/tmp/e"),
    ("WorkingDirectory", "<string>/srv</string>", "cwd", "/srv"),
    ("EnvironmentVariables", "<dict><key>A</key><string>b</string></dict>", "env", {"A": "b"}),
    ("WatchPaths", "<array><string>/etc/x</string></array>", "watch_paths", ("/etc/x",)),
    ("QueueDirectories", "<array><string>/var/q</string></array>", "queue_directories", ("/var/q",)),
    ("EnableGlobbing", "<true/>", "globbing", True),
    ("UserName", "<string>nobody</string>", "user", "nobody"),
    ("GroupName", "<string>nogroup</string>", "group", "nogroup"),
    ("LowPriorityIO", "<true/>", "low_priority_io", True),
    ("Nice", "<integer>-5</integer>", "nice", -5),
    ("Nice", "<integer>20</integer>", "nice", 19),
    ("Umask", "<integer>18</integer>", "umask", 0o022),
    ("Umask", "<string>022</string>", "umask", 0o022),
    ("Umask", "<string>18</string>", "umask", 0o022),
    ("Umask", "<string>0x12</string>", "umask", 0o022),
]


@pytest.mark.parametrize(("key", "value", "field", "meant"), SIMPLE, ids=lambda it: it if isinstance(it, str) else None)
def test_a_key_with_a_plain_value(key: str, value: str, field: str, meant: object) -> None:
    """[F2] [F18] launchd.plist(5): each of these keys; an integer Umask is decimal, a string as in strtoul(3)."""
    assert getattr(spec_of(f"<key>{key}</key>{value}"), field) == meant


def test_defaults_are_those_of_launchd() -> None:
    """[F2] launchd.plist(5): ThrottleInterval is 10 seconds, ExitTimeOut 20."""
    assert (spec_of().throttle_s, spec_of().stop_timeout_s) == (10.0, 20.0)


WRONG = [
    ("ThrottleInterval", "<string>10</string>", "must be a number of seconds from 0 to ten years; it is '10'"),
    ("StartInterval", "<integer>0</integer>", "must be more than 0 seconds; it is 0"),
    ("StandardOutPath", "<string>out.log</string>", "must be an absolute path, and is 'out.log'"),
    ("EnvironmentVariables", "<dict><key>A</key><integer>1</integer></dict>", "must be a text without NUL; it is 1"),
    (
        "EnvironmentVariables",
        "<dict><key>LAUNCH_JOB_ID</key><string/></dict>",
        "the name 'LAUNCH_JOB_ID' is set by the",
    ),
    ("WatchPaths", "<string>/etc/x</string>", "must be an array; it is '/etc/x'"),
    ("Umask", "<string>888</string>", "must be from 0 to 0777; a text that begins with 0 is octal"),
    ("Nice", "<real>1.5</real>", "must be a whole number from -20 to 20; it is 1.5"),
    ("KeepAlive", "<string>yes</string>", "must be a boolean, or dictionary (KeepAlive); it is 'yes'"),
    ("RunAtLoad", "<date>2020-01-01T00:00:00Z</date>", "must be true or false; it is a date"),
    ("RunAtLoad", "<data>AAAA</data>", "must be true or false; it is data"),
    ("ProcessType", "<string>background</string>", "must be one of Background, Standard, Adaptive, Interactive"),
]


@pytest.mark.parametrize(("key", "value", "line"), WRONG)
def test_a_wrong_value_is_named_with_its_place_and_what_was_expected(key: str, value: str, line: str) -> None:
    """[F4]"""
    with pytest.raises(BadJobFile) as caught:
        job_of(f"<key>{key}</key>{value}")
    assert caught.value.message.startswith(f"job.plist:8: {key}")
    assert line in caught.value.message


def test_calendar_intervals_are_one_or_several_and_what_is_missing_is_any() -> None:
    """[F2] launchd.plist(5): StartCalendarInterval."""
    night = "<dict><key>Hour</key><integer>3</integer><key>Minute</key><integer>15</integer></dict>"
    sunday = "<dict><key>Weekday</key><integer>7</integer></dict>"
    first = "<dict><key>Day</key><integer>1</integer><key>Month</key><integer>12</integer></dict>"
    key = "<key>StartCalendarInterval</key>"
    assert spec_of(key, night).start_calendar == (CalendarEntry(hour=3, minute=15),)
    assert spec_of(key, f"<array>{sunday}{first}</array>").start_calendar == (
        CalendarEntry(weekday=7),
        CalendarEntry(day=1, month=12),
    )
    with pytest.raises(BadJobFile, match=r"StartCalendarInterval\[1\].Hour: must be a whole number from 0 to 23"):
        job_of(key, f"<array>{sunday}<dict><key>Hour</key><integer>24</integer></dict></array>")


LIMITS = [
    ("Core", "core"), ("CPU", "cpu"), ("Data", "data"), ("FileSize", "fsize"), ("MemoryLock", "memlock"),
    ("NumberOfFiles", "nofile"), ("NumberOfProcesses", "nproc"), ("ResidentSetSize", "rss"), ("Stack", "stack"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "name"), LIMITS)
def test_resource_limits_are_soft_and_hard(key: str, name: str) -> None:
    """[F15] launchd.plist(5): SoftResourceLimits, HardResourceLimits."""
    soft = f"<key>SoftResourceLimits</key><dict><key>{key}</key><integer>64</integer></dict>"
    hard = f"<key>HardResourceLimits</key><dict><key>{key}</key><integer>128</integer></dict>"
    assert spec_of(soft, hard).limits == {name: (64, 128)}
    assert spec_of(soft).limits == {name: (64, "inherit")}
    assert spec_of(hard).limits == {name: ("inherit", 128)}


def test_a_limit_may_be_infinite_and_a_soft_one_is_not_over_its_hard_one() -> None:
    """[F15]"""
    infinite = "<dict><key>Core</key><string>infinity</string></dict>"
    assert spec_of("<key>HardResourceLimits</key>", infinite).limits == {"core": ("inherit", None)}
    with pytest.raises(BadJobFile, match="SoftResourceLimits: core has a soft limit over its hard limit"):
        job_of(
            "<key>SoftResourceLimits</key>", infinite,
            "<key>HardResourceLimits</key><dict><key>Core</key><integer>1</integer></dict>",
        )  # fmt: skip


def test_process_type_background_gives_way_and_the_others_do_nothing() -> None:
    """[F17] launchd.plist(5): ProcessType."""
    background = "<key>ProcessType</key><string>Background</string>"
    assert (spec_of(background).nice, spec_of(background).low_priority_io) == (10, True)
    explicit = spec_of(background, "<key>Nice</key><integer>3</integer><key>LowPriorityIO</key><false/>")
    assert (explicit.nice, explicit.low_priority_io) == (3, False)
    for name in ("Standard", "Adaptive", "Interactive"):
        assert spec_of(f"<key>ProcessType</key><string>{name}</string>") == spec_of()


def sockets(*parts: str) -> tuple[SocketSpec, ...]:
    body = "".join(f"<key>{key}</key>{value}" for key, _, value in (part.partition("=") for part in parts))
    return spec_of(f"<key>Sockets</key><dict><key>web</key><dict>{body}</dict></dict>").sockets["web"]


@pytest.mark.parametrize(
    ("parts", "meant"),
    [
        (["SockServiceName=<string>8080</string>"], SocketSpec(port=8080)),
        (["SockServiceName=<integer>0</integer>"], SocketSpec(port=0)),
        (["SockServiceName=<string>http</string>"], SocketSpec(port=80)),
        (
            ["SockServiceName=<string>53</string>", "SockType=<string>dgram</string>"],
            SocketSpec(port=53, kind="dgram"),
        ),
        (
            ["SockServiceName=<string>53</string>", "SockProtocol=<string>UDP</string>"],
            SocketSpec(port=53, kind="dgram"),
        ),
        (["SockServiceName=<string>1</string>", "SockPassive=<true/>"], SocketSpec(port=1)),
        (
            ["SockServiceName=<string>1</string>", "SockNodeName=<string>localhost</string>"],
            SocketSpec(port=1, host="localhost"),
        ),
        (["SockServiceName=<string>1</string>", "SockFamily=<string>IPv6</string>"], SocketSpec(port=1, family="ipv6")),
        (["SockServiceName=<string>1</string>", "SockFamily=<string>IPv4v6</string>"], SocketSpec(port=1)),
        (
            ["SockPathName=<string>/run/x</string>", "SockPathMode=<integer>384</integer>"],
            SocketSpec(path="/run/x", mode=0o600),
        ),
        (
            ["SockPathName=<string>/run/x</string>", "SockType=<string>seqpacket</string>"],
            SocketSpec(path="/run/x", kind="seqpacket"),
        ),
    ],
)
def test_sockets(parts: list[str], meant: SocketSpec) -> None:
    """[F16] launchd.plist(5): Sockets and the keys of its dictionaries."""
    assert sockets(*parts) == (meant,)


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ([], "SockServiceName or SockPathName is missing"),
        (
            ["SockServiceName=<string>1</string>", "SockPassive=<false/>"],
            "SockPassive: must be true: sockets are listened",
        ),
        (["SockServiceName=<string>no-such</string>"], "'no-such' is no service that this host knows"),
        (["SockServiceName=<string>1</string>", "SockPathName=<string>/x</string>"], "does not go with SockPathName"),
        (["SockServiceName=<string>1</string>", "SockPathMode=<integer>1</integer>"], "beside SockPathName only"),
        (
            ["SockServiceName=<string>1</string>", "SockType=<string>seqpacket</string>"],
            "SockType seqpacket does not go",
        ),
        (["SockServiceName=<string>1</string>", "SockFamily=<string>Unix</string>"], "SockFamily Unix does not go"),
    ],
)
def test_sockets_that_cannot_be_had_are_refused(parts: list[str], line: str) -> None:
    """[F16]"""
    with pytest.raises(BadJobFile) as caught:
        sockets(*parts)
    assert "Sockets.web" in caught.value.message
    assert line in caught.value.message


def test_a_socket_may_be_several() -> None:
    """[F16] launchd.plist(5): a dictionary of arrays of dictionaries."""
    one, two = (f"<dict><key>SockServiceName</key><string>{port}</string></dict>" for port in (1, 2))
    spec = spec_of(f"<key>Sockets</key><dict><key>a</key><array>{one}{two}</array></dict>")
    assert spec.sockets == {"a": (SocketSpec(port=1), SocketSpec(port=2))}


@pytest.mark.parametrize("key", ["Bonjour", "MulticastGroup", "SockPathOwner", "SecureSocketWithKey"])
def test_what_a_socket_cannot_have_is_warned_of(key: str) -> None:
    """[F3] [F16]"""
    body = f"<dict><key>SockServiceName</key><string>1</string><key>{key}</key><true/></dict>"
    (line,) = job_of(f"<key>Sockets</key><dict><key>web</key>{body}</dict>").warnings
    assert f"Sockets.web.{key}: not supported: " in line


@pytest.mark.parametrize(
    "key", ["MachServices", "inetdCompatibility", "RootDirectory", "StartOnMount", "OnDemand", "InitGroups", "Debug"]
)
def test_keys_of_launchd_that_are_not_supported_are_named_with_a_reason(key: str) -> None:
    """[F3]"""
    (line,) = job_of(f"<key>{key}</key><true/>").warnings
    assert line.startswith(f"job.plist:8: {key}: not supported: ")


def test_a_misspelt_key_is_named_with_the_one_that_may_be_meant() -> None:
    """[F3]"""
    lines = job_of("<key>KeepAlvie</key><true/>", "<key>Zzz</key><true/>").warnings
    assert lines == (
        "job.plist:8: KeepAlvie: is no key that is known here; did you mean KeepAlive?",
        "job.plist:9: Zzz: is no key that is known here",
    )


def test_a_slip_is_told_from_a_key_that_means_nothing_but_not_in_a_property_list() -> None:
    """[A1] [F3]"""
    body = {"Label": "a", "Program": "x", "Hots": "n1", "Zzz": 1, "Debug": True}
    file = parse(json.dumps(body).encode(), "job.json")
    assert len(file.warnings) == 3
    assert file.slips == ("job.json:1: Hots: is no key that is known here; did you mean Hosts?",)
    assert not job_of("<key>KeepAlvie</key><true/>").slips


def test_warnings_are_bounded() -> None:
    """[F3] [F6] A file full of keys that mean nothing is read as quickly as any."""
    body = {f"Zzz{i}": i for i in range(5_000)} | {"Label": "a", "Program": "x"}
    warnings = parse(json.dumps(body).encode(), "job.json").warnings
    assert len(warnings) == 101
    assert warnings[-1] == "job.json: 4900 more keys mean nothing here"


def test_keys_are_written_in_any_mixture_of_capitals_but_once() -> None:
    """[F1]"""
    assert spec_of("<key>runatload</key><true/>").run_at_load
    with pytest.raises(BadJobFile, match=r"job.plist:9: RUNATLOAD: is the same key as 'RunAtLoad'"):
        job_of("<key>RunAtLoad</key><true/>", "<key>RUNATLOAD</key><true/>")
    with pytest.raises(BadJobFile, match=r"job.plist:9: the key 'RunAtLoad' is there twice"):
        job_of("<key>RunAtLoad</key><true/>", "<key>RunAtLoad</key><true/>")
