"""The JSON Schema takes what the reader takes, and the documentation is that of the code."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from tests.core.examples import repeatable
from tests.jobfile.test_round_trip import fit

from relaunch.errors import BadJobFile
from relaunch.jobfile import parse, schema, write
from relaunch.jobfile.vocabulary import JOB

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "document-job-files"
VALIDATOR = Draft202012Validator(schema())

# What no schema can say, by the words of the reader's errors. [F10]
UNSPEAKABLE = (
    "is the same key as", "no regular expression", "no signal is called", "is no service", "over its hard limit",
    "names the job itself", "is that of",
)  # fmt: skip


def test_the_documentation_is_that_of_the_code() -> None:
    """[F10] Where it is not: run scripts/document-job-files."""
    run = subprocess.run([sys.executable, SCRIPT, "--check"], check=False)
    assert run.returncode == 0, "docs/job-file.schema.json or docs/job-files.md is not what the script writes"


def test_the_examples_of_the_documentation_load_and_are_one_job() -> None:
    """[F1] [F10]"""
    page = (SCRIPT.parents[1] / "docs" / "job-files.md").read_text("utf-8")
    blocks = {name: page.partition(f"```{name}\n")[2].partition("```")[0] for name in ("toml", "json", "xml")}
    names = {"toml": "web.toml", "json": "web.json", "xml": "web.plist"}
    files = [parse(block.encode(), names[name]) for name, block in blocks.items()]
    assert not any(file.warnings for file in files)
    assert len({repr(file.entries[0].spec) for file in files}) == 1
    assert VALIDATOR.is_valid(json.loads(blocks["json"]))


def test_the_schema_is_one() -> None:
    """[F10]"""
    Draft202012Validator.check_schema(schema())


@given(fit)
@repeatable
def test_whatever_is_written_is_in_the_schema(spec: Any) -> None:
    """[F10]"""
    assert VALIDATOR.is_valid(json.loads(write(spec, "json")))


PLAIN: list[Any] = [
    True, False, None, 0, 1, 5, 5.0, 20, 511, 512, 4096, -1, 1.5, 1e9, "", "x", "/x", "x/y", "a b", "-x", "a//b", "022",
    "888", "0x1f", "http", "80", "99999", "infinity", "inherit", "Background", "TERM", "no-signal", "\0", "a\n",
    "stream", "seqpacket", "dgram", "IPv4", "Unix", "UDP", "TCP",
]  # fmt: skip
INNER = [
    "SuccessfulExit", "crashed", "PathState", "OtherJobEnabled", "Minute", "weekday", "Core", "NumberOfFiles",
    "Command", "Port", "Host", "LogLine", "Notify", "timeout", "Count", "Within", "Initial", "Factor", "Jitter",
    "SockType", "SockPassive", "SockNodeName", "SockServiceName", "SockFamily", "SockProtocol", "SockPathName",
    "SockPathMode", "LAUNCH_JOB_X", "A=", "", "Other", "a b",
]  # fmt: skip
plain = st.sampled_from(PLAIN)
inner = st.recursive(
    plain,
    lambda value: st.one_of(
        st.lists(value, max_size=2), st.dictionaries(st.sampled_from([*INNER, "/x", "x"]), value, max_size=3)
    ),
    max_leaves=4,
)
keys = st.sampled_from([key.name for key in JOB.keys]).flatmap(lambda name: st.sampled_from([name, name, name.lower()]))
jobs = st.builds(
    lambda start, more: {**start, **more},
    st.sampled_from([{"Label": "a", "Program": "/x"}, {"label": "a", "ProgramArguments": ["x"]}, {"Label": "a"}, {}]),
    st.dictionaries(keys, inner, max_size=3),
)
files = st.one_of(
    jobs,
    st.lists(jobs, max_size=2),
    st.builds(
        lambda items, more: {"Jobs": items, **more},
        st.lists(jobs, max_size=2),
        st.dictionaries(keys, inner, max_size=1),
    ),
    inner,
)


def compare(file: Any) -> None:
    """Fails where only one of reader and schema takes a file."""
    try:
        parse(json.dumps(file).encode(), "f.json")
    except BadJobFile as error:
        line = error.message
        if not any(words in line for words in UNSPEAKABLE):
            assert not VALIDATOR.is_valid(file), line
    else:
        assert VALIDATOR.is_valid(file), list(VALIDATOR.iter_errors(file))


@given(files)
@example({"Label": "a", "Program": "/x", "Sockets": {"web": {"SockServiceName": "80", "SockProtocol": "UDP"}}})
@example({"Label": "a", "Program": "/x", "Ready": {"Port": 1, "notify": True}})
@example({"Label": "a", "ProgramArguments": ["a/b"]})
@example({"Label": "a", "ProgramArguments": ["a/b"], "program": "/x"})
@example({"Label": "a", "ProgramArguments": [1]})
@example({"Label": "a", "Program": "x", "ProgramArgs": None})
@example({"jobs": [{"Label": "a", "Program": "x"}], "hosts": "n1"})
@example({"jobs": [{"Label": "a", "Program": "x"}], "Nice": 1})
@repeatable
def test_the_schema_takes_what_the_reader_takes(file: Any) -> None:
    """[F10]"""
    compare(file)


@pytest.mark.parametrize("key", [key.name for key in JOB.keys])
@given(value=inner)
@repeatable
def test_each_key_is_bounded_alike(key: str, value: Any) -> None:
    """[F10]"""
    compare({"Label": "a", "Program": "x"} | {key: value})
