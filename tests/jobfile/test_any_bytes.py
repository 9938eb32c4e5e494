"""Whatever a file holds, it is either jobs or one clear line. [F6]

tests/fuzz/job_file.py does the same for as long as one likes, guided by what the bytes reach.
"""

import json
import plistlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.examples import repeatable
from tests.jobfile.test_round_trip import NAMES, fit
from tests.jobfile.test_schema import files

from relaunch.errors import BadJobFile
from relaunch.jobfile import Entry, parse, write
from relaunch.model import JobSpec

SPEC = JobSpec.from_wire(
    {
        "label": "a/b", "argv": ["x", "-v"], "keep_alive_when": {"paths": {"/x": True}}, "umask": 18,
        "limits": {"nofile": "64:infinity"}, "sockets": {"web": [{"port": 80}, {"path": "/s"}]},
    }
)  # fmt: skip
WHOLE = {form: write(SPEC, form) for form in NAMES}


def jobs_or_a_line(data: bytes, name: str) -> None:
    """Fails where it is neither."""
    line = name
    entries: tuple[Entry, ...] = ()
    try:
        entries = parse(data, name).entries
    except BadJobFile as error:
        line = error.message
    assert line.startswith(name)
    assert line.isprintable()
    assert len(line) < 1000
    for entry in entries:
        assert JobSpec.from_wire(entry.spec.to_wire()) == entry.spec
        if not entry.hosts:
            assert parse(write(entry, "json"), "again.json").entries[0].spec == entry.spec


@st.composite
def harmed(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file of which some bytes are others, gone, or there twice."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.sampled_from([0, 1, 1, 4, 40])))
        data[at:end] = draw(st.one_of(st.binary(max_size=4), st.just(bytes(data[at:end]) * 2)))
    return bytes(data)


@pytest.mark.parametrize("form", list(NAMES))
@given(data=st.data())
@repeatable
def test_a_harmed_file(form: str, data: st.DataObject) -> None:
    """[F6]"""
    jobs_or_a_line(data.draw(harmed(WHOLE[form])), NAMES[form])


@pytest.mark.parametrize("name", ["a.json", "a.plist", "a.toml", "a"])
@given(data=st.one_of(st.binary(max_size=40), st.binary(max_size=40).map(lambda data: b"bplist00" + data)))
@repeatable
def test_bytes_that_never_were_a_file(name: str, data: bytes) -> None:
    """[F6]"""
    jobs_or_a_line(data, name)


@given(file=files)
@repeatable
def test_well_formed_files_that_say_anything(file: Any) -> None:
    """[F4] [F6]"""
    jobs_or_a_line(json.dumps(file).encode(), "a.json")
    try:
        data = plistlib.dumps(file, fmt=plistlib.FMT_BINARY)
    except TypeError:
        return
    jobs_or_a_line(data, "a.plist")


@given(spec=fit, hosts=st.lists(st.sampled_from(["n[1-2]", "{host}", "\n", ""]), max_size=2))
@repeatable
def test_jobs_with_hosts(spec: JobSpec, hosts: list[str]) -> None:
    """[F6] [F11]"""
    file = json.loads(write(spec, "json")) | {"Hosts": hosts}
    jobs_or_a_line(json.dumps(file).encode(), "a.json")
