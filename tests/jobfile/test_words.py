"""What is written once for many hosts."""

import json

import pytest

from relaunch.errors import BadJobFile
from relaunch.jobfile import parse, replace_words

JOB = {
    "Label": "db",
    "Program": "/opt/{host}/db",
    "ProgramArguments": ["db", "--id={index}/{count}", "--peers={hosts}", "{{literal}}"],
    "EnvironmentVariables": {"ME": "{host}"},
    "WorkingDirectory": "/srv/{index}",
    "StandardOutPath": "/srv/{index}/out",
    "WatchPaths": ["/etc/{host}"],
    "KeepAlive": {"PathState": {"/run/{host}": True}},
    "Ready": {"Port": 80, "Host": "{host}"},
    "Sockets": {"web": {"SockServiceName": "80", "SockNodeName": "{host}"}},
    "Hosts": "n[1-2]",
}


def test_words_stand_for_something_on_each_host() -> None:
    """[F11]"""
    (entry,) = parse(json.dumps(JOB).encode(), "db.json").entries
    assert replace_words(entry, "n2", 2, ["n1", "n2"]).to_wire() == {
        "label": "db",
        "program": "/opt/n2/db",
        "argv": ["db", "--id=2/2", "--peers=n1,n2", "{literal}"],
        "env": {"ME": "n2"},
        "cwd": "/srv/2",
        "stdout": "/srv/2/out",
        "watch_paths": ["/etc/n2"],
        "keep_alive_when": {"paths": {"/run/n2": True}},
        "ready": {"port": 80, "host": "n2"},
        "sockets": {"web": [{"port": 80, "host": "n2"}]},
    }


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ({"Program": "/{hots}"}, "Program"),
        ({"Program": "/x}"}, "Program"),
        ({"EnvironmentVariables": {"A": "{"}}, "EnvironmentVariables.A"),
        ({"Ready": {"Command": ["{x}"]}}, "Ready.Command"),
        ({"Ready": {"LogLine": "a{3}"}}, "Ready.LogLine"),
        ({"Sockets": {"a": {"SockPathName": "/{x}"}}}, "Sockets.a"),
        ({"KeepAlive": {"PathState": {"/{x}": True}}}, "KeepAlive"),
    ],
)
def test_words_that_stand_for_nothing_are_refused_when_the_file_is_read(part: dict[str, object], place: str) -> None:
    """[F4] [F11]"""
    with pytest.raises(BadJobFile, match=rf"^db.json:[0-9]+: {place}: .*in a job with Hosts"):
        parse(json.dumps(JOB | part, indent=1).encode(), "db.json")


def test_a_label_is_one_for_all_hosts() -> None:
    """[F4] [F11]"""
    with pytest.raises(BadJobFile, match=r"^db.json:2: Label: is one for all hosts, and is 'db/{index}'; "):
        parse(json.dumps(JOB | {"Label": "db/{index}"}, indent=1).encode(), "db.json")


def test_without_hosts_braces_are_braces() -> None:
    """[F11]"""
    (entry,) = parse(b'{"Label": "a", "ProgramArguments": ["awk", "{print}"]}', "a.json").entries
    assert entry.spec.argv == ("awk", "{print}")
