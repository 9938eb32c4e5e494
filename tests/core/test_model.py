"""What is asked for, how it ends, and their forms on the wire."""

import json
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.examples import exits, labels, pids, repeatable, specs, times

from relaunch.errors import BadLabel, BadSignal, BadSpec
from relaunch.fields import Limit, duration_s, parse_limit, signal_name, signal_number
from relaunch.model import Exit, JobSpec, JobStatus, Outcome

SMALLEST = {"label": "a", "argv": ["true"]}


def test_the_smallest_spec_has_the_promised_defaults() -> None:
    """[S4] [S8] [S12]"""
    spec = JobSpec.from_wire(SMALLEST)
    assert spec == JobSpec(label="a", argv=("true",))
    assert (spec.stop_timeout_s, spec.throttle_s, spec.output_bytes_max) == (20, 10, 16 * 2**20)
    assert (spec.stop_signal, spec.stop_signal_number, spec.keep_alive) == ("TERM", 15, False)


@repeatable
@given(specs)
def test_a_spec_survives_the_wire(spec: JobSpec) -> None:
    wire = json.loads(json.dumps(spec.to_wire()))
    assert JobSpec.from_wire(wire) == spec
    assert JobSpec.from_wire(wire).to_wire() == spec.to_wire()


def test_defaults_are_left_out_on_the_wire_and_zeros_are_not() -> None:
    assert JobSpec(label="a", argv=("true",)).to_wire() == SMALLEST
    zeros = JobSpec(label="a", argv=("true",), umask=0, nice=0, throttle_s=0.0, stop_timeout_s=0.0)
    assert zeros.to_wire() == {**SMALLEST, "umask": 0, "nice": 0, "throttle_s": 0.0, "stop_timeout_s": 0.0}


def test_null_is_the_default() -> None:
    assert JobSpec.from_wire({**SMALLEST, "env": None, "umask": None, "keep_alive": None}) == JobSpec.from_wire(
        SMALLEST
    )


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("argv", None, "at least one text"),
        ("argv", [], "at least one text"),
        ("argv", "true", "a list"),
        ("argv", ["a", 1], "texts without NUL"),
        ("argv", ["a", "\0"], "texts without NUL"),
        ("argv", ["", "a"], "name of a program"),
        *[(name, value, "not empty") for name in ("program", "cwd", "stdin", "stdout", "stderr") for value in ("", 1)],
        ("program", "a\0b", "no NUL"),
        ("env", [], "an object"),
        ("env", {"": "x"}, "holds the name ''"),
        ("env", {"a=b": "x"}, "holds the name 'a=b'"),
        ("env", {1: "x"}, "holds the name 1"),
        ("env", {"A": 1}, "A must be a text"),
        ("env", {"A": "\0"}, "A must be a text"),
        ("env", {"LAUNCH_JOB_ID": "x"}, "set by the launcher"),
        ("keep_alive", 1, "true or false"),
        *[
            (name, value, "0 to ten years")
            for name in ("throttle_s", "stop_timeout_s")
            for value in (-1, True, "1", 10**9, float("nan"), float("inf"))
        ],
        ("stop_signal", "NOPE", "no signal is called 'NOPE'"),
        ("stop_signal", "32", "the C library's own"),
        ("stop_signal", 0, "no signal"),
        ("stop_signal", 65, "no signal"),
        ("stop_signal", "9" * 5000, "no signal"),
        *[("umask", value, "from 0 to 511") for value in (-1, 0o1000, True, 1.0)],
        *[("nice", value, "from -20 to 19") for value in (-21, 20, "1")],
        ("limits", [], "an object"),
        ("limits", {"files": "1"}, "no resource is called 'files'"),
        ("limits", {"nofile": "many"}, "'many' where a whole number"),
        ("limits", {"nofile": "9" * 5000}, "where a whole number"),
        ("limits", {"nofile": "2:1"}, "soft limit over its hard"),
        ("output_bytes_max", 4095, "from 4096"),
        *[
            (name, value, "must be a list")
            for name in ("watch_paths", "depends_on", "start_calendar")
            for value in ("/", 1)
        ],
        ("watch_paths", ["etc"], "an absolute path, and is 'etc'"),
        ("depends_on", ["-x"], "begins with '-'"),
        ("depends_on", ["a"], "names the job itself"),
        ("start_interval_s", 0, "more than 0 seconds"),
        ("start_calendar", [{"hour": 24}], "hour: must be a whole number from 0 to 23"),
        ("start_calendar", [{"year": 1}], "a calendar entry has no field 'year'; it has minute, hour"),
        ("start_calendar", [1], "must be an object"),
        ("keep_alive_when", {"paths": []}, "paths: must be an object of true and false"),
        ("keep_alive_when", {"paths": {"x": True}}, "paths: must be an absolute path"),
        ("keep_alive_when", {"other_jobs": {"x": 1}}, "other_jobs: must be true or false"),
        ("restart_limit", {"count": 3}, "within_s is missing"),
        ("restart_limit", {"count": -1, "within_s": 1}, "count: must be a whole number from 0"),
        ("backoff", {"factor": 0.5}, "factor: must be a number from 1 to 100"),
        ("ready", {}, "exactly one of"),
        ("ready", {"port": 1, "notify": True}, "exactly one of"),
        ("ready", {"notify": True, "host": "h"}, "host means something beside port"),
        ("ready", {"log_line": "("}, "no regular expression"),
        ("sockets", [], "an object of lists of sockets"),
        ("sockets", {"a:b": [{"port": 1}]}, "holds the name 'a:b'"),
        ("sockets", {"a": []}, "a must hold at least one socket"),
        ("sockets", {"a": [{}]}, "either a path or a port"),
        ("sockets", {"a": [{"path": "/x", "host": "h"}]}, "beside port only"),
        ("sockets", {"a": [{"port": 1, "mode": 1}]}, "beside path only"),
        ("sockets", {"a": [{"port": 1, "kind": "seqpacket"}]}, "Unix socket only"),
        ("sockets", {"a": [{"kind": "raw", "port": 1}]}, "must be one of stream, dgram, seqpacket"),
    ],
)
def test_a_bad_field_is_refused_by_label_and_name(field: str, value: object, what: str) -> None:
    with pytest.raises(BadSpec, match=what) as error:
        JobSpec.from_wire({**SMALLEST, field: value})
    assert error.value.message.startswith(f"a: {field}: ")
    assert "\n" not in error.value.message


def test_conditions_mean_nothing_beside_a_job_that_is_always_kept() -> None:
    with pytest.raises(BadSpec, match="a: keep_alive_when: means something without keep_alive"):
        JobSpec.from_wire({**SMALLEST, "keep_alive": True, "keep_alive_when": {"crashed": True}})


@pytest.mark.parametrize("wire", [None, [], "a"])
def test_a_spec_must_be_an_object(wire: object) -> None:
    with pytest.raises(BadSpec, match="an object"):
        JobSpec.from_wire(wire)


def test_an_unknown_field_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadSpec, match=r"no field 'keepalive'; it has label, argv, .*keep_alive"):
        JobSpec.from_wire({**SMALLEST, "keepalive": True})


@pytest.mark.parametrize("wire", [{"argv": ["a"]}, {"label": "-a", "argv": ["a"]}])
def test_a_spec_needs_a_label(wire: object) -> None:
    """[W8]"""
    with pytest.raises(BadLabel):
        JobSpec.from_wire(wire)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("5", (5, 5)),
        (5, (5, 5)),
        ("1:2", (1, 2)),
        ("0:infinity", (0, None)),
        ("unlimited", (None, None)),
        ("infinity:infinity", (None, None)),
        (str(2**63 - 1), (2**63 - 1, 2**63 - 1)),
        ("5:inherit", (5, "inherit")),
        ("inherit:5", ("inherit", 5)),
    ],
)
def test_a_limit_is_soft_and_hard(text: object, limit: Limit) -> None:
    assert parse_limit("nofile", text) == limit


@pytest.mark.parametrize("text", ["", "-1", "1.5", "1:2:3", ":5", "infinity:5", "²", "٣", str(2**63)])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(BadSpec):
        parse_limit("nofile", text)


@pytest.mark.parametrize("name", ["TERM", "term", "SIGTERM", "sigterm", "15", 15])
def test_a_signal_has_several_names(name: object) -> None:
    assert signal_number(name) == signal.SIGTERM


def test_every_signal_keeps_its_number() -> None:
    for number in set(range(1, signal.NSIG)) - {32, 33}:
        assert signal_number(signal_name(number)) == number
        assert not signal_name(number).startswith("SIG")


@pytest.mark.parametrize(
    "name", ["", "NOPE", "SIGSIGTERM", "0", "65", "-1", "1.0", None, True, "٣", "9" * 5000, 10**999]
)
def test_what_is_no_signal_is_refused(name: object) -> None:
    with pytest.raises(BadSignal, match="no signal"):
        signal_number(name)


def test_a_duration_is_a_float_of_seconds() -> None:
    assert duration_s(3) == 3.0
    assert isinstance(duration_s(3), float)


@pytest.mark.parametrize(
    ("status", "asked", "reason", "code", "name", "core"),
    [
        (0, None, "exited", 0, None, False),
        (7 << 8, None, "exited", 7, None, False),
        (255 << 8, None, "exited", 255, None, False),
        (11, None, "crashed", None, "SEGV", False),
        (11 | 0x80, None, "crashed", None, "SEGV", True),
        (40, None, "crashed", None, "40", False),
        (15, "stopped", "stopped", None, "TERM", False),
        (3 << 8, "stopped", "stopped", 3, None, False),
        (9, "shutdown", "shutdown", None, "KILL", False),
        (None, None, "unknown", None, None, False),
        (None, "stopped", "stopped", None, None, False),
    ],
)
def test_a_wait_status_says_how_it_ended(
    status: int | None, asked: str | None, reason: str, code: int | None, name: str | None, core: bool
) -> None:
    """[S22] Also where nobody knows."""
    end = Exit.from_wait(status, at=5.0, usage={"user_s": 1.0}, asked=asked)
    assert end == Exit(reason=reason, code=code, signal=name, core_dumped=core, at=5.0, usage={"user_s": 1.0})


@repeatable
@given(exits)
def test_an_exit_survives_the_wire(end: Exit) -> None:
    assert Exit.from_wire(json.loads(json.dumps(end.to_wire()))) == end


def test_an_exit_of_an_older_launcher_lacks_fields() -> None:
    assert Exit.from_wire({"reason": "exited", "code": 1}) == Exit(reason="exited", code=1)


statuses = st.builds(
    JobStatus,
    label=labels,
    state=st.sampled_from("starting running stopping ending backoff exited failed".split()),
    id=st.just("0123"),
    run=st.integers(1),
    restarts=st.integers(0),
    argv=st.just(("a", "b")),
    submitted_at=times,
    pid=st.none() | pids,
    started_at=st.none() | times,
    exit=st.none() | exits,
    output=st.none() | st.just("/x"),
    stopped=st.booleans(),
    next_start_at=st.none() | times,
)


@repeatable
@given(statuses)
def test_a_status_survives_the_wire(status: JobStatus) -> None:
    """[W13]"""
    wire = json.loads(json.dumps(status.to_wire()))
    assert JobStatus.from_wire(wire) == status
    assert JobStatus.from_wire({**wire, "of_a_later_version": 1}) == status
    assert status.finished is (status.state in ("exited", "failed"))


@repeatable
@given(st.none() | statuses, st.none() | st.just("io.relaunch.Launcher.NoSuchLabel"))
def test_an_outcome_survives_the_wire(job: JobStatus | None, error: str | None) -> None:
    outcome = Outcome(label="a*", job=job, error=error, message=error and "no such", cancelled=error is None)
    assert Outcome.from_wire(json.loads(json.dumps(outcome.to_wire()))) == outcome
