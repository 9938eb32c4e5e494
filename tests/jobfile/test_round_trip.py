"""What is written is read as the same."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.examples import repeatable, specs

from relaunch.errors import BadJobFile
from relaunch.jobfile import Entry, parse, write
from relaunch.jobfile.encoding import FORMATS
from relaunch.model import JobSpec

NAMES = {"json": "a.json", "plist": "a.plist", "binary": "a.plist", "toml": "a.toml"}


def in_a_file(spec: JobSpec) -> JobSpec:
    """The spec with paths that depend on no current directory, as a job file wants them."""
    paths = {name: getattr(spec, name) for name in ("program", "cwd", "stdin", "stdout", "stderr")}
    absolute: dict[str, Any] = {name: f"/{path}" for name, path in paths.items() if path is not None}
    first = spec.argv[0] if spec.program or "/" not in spec.argv[0] else f"/{spec.argv[0]}"
    return replace(spec, argv=(first, *spec.argv[1:]), **absolute)


fit = specs.map(in_a_file)


def texts_of(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.items() for text in texts_of(list(item))]
    if isinstance(value, list):
        return [text for item in value for text in texts_of(item)]
    return [value] if isinstance(value, str) else []


def is_in_xml(text: str) -> bool:
    """Whether XML 1.0 has all of its characters, and its parsers leave them what they are."""
    return all(c in "\t\n" or (c >= " " and c not in "\ufffe\uffff") for c in text)


@pytest.mark.parametrize("form", ["json", "binary", "toml"])
@given(spec=fit)
@repeatable
def test_every_spec_survives(form: str, spec: JobSpec) -> None:
    """[F9]"""
    file = parse(write(spec, form), NAMES[form])
    assert not file.warnings
    assert file.entries[0].spec == spec


@given(spec=fit)
@repeatable
def test_every_spec_survives_as_xml_or_cannot_be_said_in_xml(spec: JobSpec) -> None:
    """[F9]"""
    if all(map(is_in_xml, texts_of(spec.to_wire()))):
        assert parse(write(spec, "plist"), "a.plist").entries[0].spec == spec
    else:
        with pytest.raises(BadJobFile, match="which plist cannot hold"):
            write(spec, "plist")


@given(
    entries=st.lists(st.builds(Entry, spec=fit, disabled=st.booleans()), max_size=3, unique_by=lambda it: it.spec.label)
)
@repeatable
def test_several_jobs_survive(entries: list[Entry]) -> None:
    """[F9]"""
    if not entries:
        return
    for form in ("json", "toml"):
        read = parse(write(entries, form), NAMES[form]).entries
        assert [(entry.spec, entry.disabled) for entry in read] == [(entry.spec, entry.disabled) for entry in entries]


ODD = "é ü \t\n \r \x01 \x7f \x85 \u2028 '\"\\ {} # 😀 </string> &amp;"


@pytest.mark.parametrize("form", ["json", "binary", "toml"])
def test_any_text_survives(form: str) -> None:
    """[F9]"""
    spec = JobSpec(label="a", argv=("x", ODD, ""), env={ODD.replace("=", ""): ODD})
    assert parse(write(spec, form), NAMES[form]).entries[0].spec == spec


def test_bytes_that_are_no_text_survive_in_json_and_are_refused_elsewhere() -> None:
    """[F9]"""
    spec = JobSpec(label="a", argv=("x", "caf\udce9"))
    assert parse(write(spec, "json"), "a.json").entries[0].spec == spec
    for form in FORMATS[1:]:
        with pytest.raises(BadJobFile, match=f"bytes that are no UTF-8, which {form} cannot hold; write json"):
            write(spec, form)


def test_what_xml_cannot_hold_is_refused() -> None:
    """[F9]"""
    with pytest.raises(BadJobFile, match=r"holds '\\r', which plist cannot hold; write json, toml or binary"):
        write(JobSpec(label="a", argv=("x", "\r")), "plist")


def test_a_job_that_depends_on_a_current_directory_is_not_written() -> None:
    """[F9] [F13]"""
    with pytest.raises(BadJobFile, match="StandardOutPath: must be an absolute path, and is 'out'"):
        write(JobSpec(label="a", argv=("x",), stdout="out"), "json")


def test_what_is_written_is_for_people_too() -> None:
    """[F9]"""
    spec = JobSpec.from_wire(
        {
            "label": "a/b", "argv": ["x", "-v"], "keep_alive_when": {"paths": {"/x": True}}, "umask": 18,
            "limits": {"nofile": "64:infinity", "core": "inherit:0"}, "throttle_s": 5,
            "sockets": {"web": [{"port": 80}, {"path": "/s"}]},
        }
    )  # fmt: skip
    assert (
        write(Entry(spec=spec, hosts=("n[1-2]",)), "toml").decode()
        == """\
Label = "a/b"
ProgramArguments = ["x", "-v"]
ThrottleInterval = 5
Umask = "022"
Hosts = "n[1-2]"

[KeepAlive]

[KeepAlive.PathState]
"/x" = true

[Sockets]

[[Sockets.web]]
SockServiceName = "80"

[[Sockets.web]]
SockPathName = "/s"

[SoftResourceLimits]
NumberOfFiles = 64

[HardResourceLimits]
Core = 0
NumberOfFiles = "infinity"
"""
    )
