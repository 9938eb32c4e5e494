"""JSON, TOML and property lists: one vocabulary, and clear words for what is none of these."""

import json
import plistlib

import pytest
from tests.jobfile.lists import only

from relaunch.errors import BadJobFile
from relaunch.jobfile import parse

JOB = {"Label": "a", "ProgramArguments": ["sleep", "5"], "KeepAlive": {"Crashed": True}, "Nice": 3}
TOML = 'Label = "a"\nProgramArguments = ["sleep", "5"]\nNice = 3\n\n[KeepAlive]\nCrashed = true\n'


def test_the_formats_say_the_same() -> None:
    """[F1]"""
    files = {
        "a.json": json.dumps(JOB).encode(),
        "a.plist": plistlib.dumps(JOB),
        "b.plist": plistlib.dumps(JOB, fmt=plistlib.FMT_BINARY),
        "a.toml": TOML.encode(),
    }
    specs = [only(parse(data, name)).spec for name, data in files.items()]
    assert specs.count(specs[0]) == len(specs)


def test_without_a_name_that_tells_a_file_is_known_by_its_beginning() -> None:
    """[F1]"""
    assert parse(json.dumps(JOB).encode(), "job").entries
    assert parse(plistlib.dumps(JOB), "job").entries
    with pytest.raises(BadJobFile, match=r"the name of a job file ends with \.json, \.plist or \.toml"):
        parse(TOML.encode(), "job.conf")


def test_the_original_launchers_json_loads() -> None:
    """[F12]"""
    file = parse(b'{"Label":"a","Program":"sleep","ProgramArgs":["5"],"Disabled":true}', "a.json")
    entry = only(file)
    assert (entry.spec.to_wire(), entry.disabled) == ({"label": "a", "argv": ["sleep", "5"]}, True)
    entry = only(parse(b'{"Label":"a","Program":"sleep","ProgramArgs":null,"Disabled":false}', "a.json"))
    assert (entry.spec.argv, entry.disabled) == (("sleep",), False)
    for line in ('"ProgramArgs": ["5"]', '"Program": "x", "ProgramArgs": [], "ProgramArguments": ["x"]'):
        with pytest.raises(BadJobFile, match="ProgramArg"):
            parse(f'{{"Label": "a", {line}}}'.encode(), "a.json")


def test_a_file_holds_one_job_or_jobs_or_an_array_of_jobs() -> None:
    """[F1]"""
    one, two = ({"Label": label, "Program": "/x"} for label in "ab")
    array = parse(json.dumps([one, two]).encode(), "f.json")
    assert [entry.spec.label for entry in array.entries] == ["a", "b"]
    assert array.name == "f"
    file = {"Cluster": "c", "Hosts": "n[1-3]", "Jobs": [one, two | {"Hosts": ["m1", "m2"], "Cluster": "d"}]}
    cluster = parse(json.dumps(file).encode(), "f.json")
    assert [(entry.hosts, entry.spec.origin) for entry in cluster.entries] == [(("n[1-3]",), "c"), (("m1", "m2"), "d")]
    assert cluster.name == "c"


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ([], "holds no job"),
        (3, "must be a dictionary with a job, a dictionary with Jobs, or an array of jobs; it is 3"),
        ({"Jobs": []}, "Jobs: must be an array with something in it; it is an empty array"),
        (
            {"Jobs": [JOB], "KeepAlive": True},
            "KeepAlive: belongs into one of Jobs; beside Jobs stand Hosts and Cluster",
        ),
        ({"Jobs": [JOB, JOB]}, "the label 'a' is that of f.json:1 too"),
        ([JOB, {"Program": "/x"}], "[1]: Label is missing"),
        (JOB | {"DependsOn": ["a"]}, "DependsOn: names the job itself"),
        (JOB | {"Ready": {"LogLine": "("}}, "Ready.LogLine: is no regular expression"),
        (JOB | {"Ready": {"Port": 1, "Notify": True}}, "Ready.Notify: Notify does not go with Port"),
        (JOB | {"Ready": {"Host": "x", "Notify": True}}, "Ready.Host: Host means something beside Port only"),
        (JOB | {"RestartLimit": {"Count": 1}}, "RestartLimit: Within is missing"),
        (JOB | {"Hosts": []}, "Hosts: must be an array with something in it; it is an empty array"),
        (
            JOB | {"ProgramArguments": ["true", 5]},
            "ProgramArguments: must hold texts without NUL only, and is 5 at element 2",
        ),
        ({"Lable": "x", "Program": "/x"}, "Label is missing; 'Lable' is there: did you mean Label?"),
        (JOB | {"Label": "a b"}, "Label: label 'a b' holds ' '"),
        (JOB | {"StopSignal": True}, "StopSignal: must be a signal's name or number; it is true"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(file: object, line: str) -> None:
    """[F1] [F4]"""
    with pytest.raises(BadJobFile) as caught:
        parse(json.dumps(file).encode(), "f.json")
    assert caught.value.message.startswith("f.json:")
    assert line in caught.value.message


CLUSTER = """\
Hosts = "n[1-3]"

[[Jobs]]
Label = "a"
Program = "/x"

[[Jobs]]  # the second
Label = "b"
Program = "/x"
EnvironmentVariables = { TEXT = '''
Nice = "this is no key"
''' }
  [Jobs.KeepAlive]
  Crashed = "yes"
"""


def test_toml_errors_name_the_line() -> None:
    """[F4]"""
    with pytest.raises(BadJobFile, match=r"c.toml:14: Jobs\[1\].KeepAlive.Crashed: must be true or false; it is 'yes'"):
        parse(CLUSTER.encode(), "c.toml")
    with pytest.raises(BadJobFile, match=r"c.toml:2: no TOML: "):
        parse(b'Label = "a"\nProgram = \n', "c.toml")


def test_json_errors_name_the_line() -> None:
    """[F4]"""
    jobs = '{"Label": "a", "Program": "/x"},\n {"Label": "b",\n "Program": "/x", "KeepAlive": {\n"Crashed": 1}}'
    text = f'{{"Jobs": [\n {jobs}]}}'
    with pytest.raises(BadJobFile, match=r"c.json:5: Jobs\[1\].KeepAlive.Crashed: must be true or false; it is 1"):
        parse(text.encode(), "c.json")
    with pytest.raises(BadJobFile, match=r"c.json:2: no JSON: .* \(column 1\)"):
        parse(b'{"Label": "a",\n}', "c.json")


REFUSED = [
    ("a.json", b'{"Label": "a", "Label": "b"}', "a.json:1: the key 'Label' is there twice"),
    ("a.json", b'{"Label": "a",\n "Zzz": {"b": 1,\n "b": 2}}', "a.json:3: the key 'b' is there twice"),
    ("a.json", b'{"Nice": NaN}', "no JSON: NaN is no number"),
    ("a.json", b'{"Nice": -Infinity}', "no JSON: -Infinity is no number"),
    ("a.json", b'{"Nice": ' + b"9" * 5000 + b"}", "a number has 5000 digits"),
    ("a.json", b'{"ThrottleInterval": 1e999, "Label": "a", "Program": "x"}', "must be a number of seconds"),
    ("a.json", b"{} {}", "no JSON: Extra data"),
    ("a.json", b'{\n"Label": "\x00"}', "a.json:2: no JSON: it holds a NUL"),
    ("a.json", b'{"Label": "a", "Program": "\\u0000"}', "Program: must be a text"),
    ("a.json", b'{"Label": "a", "Program": "\\ud800"}', "half of a surrogate pair"),
    ("a.json", b'{\n"Label": "\xff"}', "a.json:2: no JSON: it is not UTF-8"),
    ("a.json", b"[" * 100_000, "is nested too deeply"),
    ("a.json", b"", "a.json:1: no JSON: Expecting value"),
    ("a.toml", b"Nice = " + b"9" * 5000, "no TOML: "),
    ("a.toml", b"Nice = " + b"[" * 100_000, "is nested too deeply"),
    ("a.toml", b"Nice = 1\na" + b".a" * 100_000 + b" = 1", "a.toml:2: is nested too deeply"),
    ("a.toml", b'Label = "a"\nLabel = "b"\nNice = 1', "a.toml:2: no TOML: Cannot overwrite a value"),
    ("a.toml", b'Label = "a"\nProgram = "x"\nThrottleInterval = nan', "a.toml:3: ThrottleInterval: must be a number"),
    ("a.toml", b'Label = "a"\nProgram = "x"\nNice = 0x' + b"f" * 5000, "it is a huge number"),
    ("a.plist", b"", "a.plist:1: no XML property list: no element found"),
    ("a.plist", b"<plist><dict><key>Label</key>", "a.plist:1: no XML property list: no element found"),
    ("a.plist", b"<plist><dict><string>x</string></dict></plist>", "no XML property list"),
    ("a.plist", b"<plist><integer>x</integer></plist>", "no XML property list"),
    ("a.plist", b'<!DOCTYPE p [<!ENTITY a "b">]><plist><string>&a;</string></plist>', "declares the entity 'a'"),
    ("a.plist", b"{ Label = a; }", "is an old-style property list; run: plutil -convert xml1"),
    ("a.plist", b"bplist00", "no binary property list"),
    ("a.plist", b"bplist00" + bytes(64), "no binary property list"),
    ("a.plist", b"<plist>" + b"<array>" * 100_000, "no XML property list"),
]


@pytest.mark.parametrize(("name", "data", "line"), REFUSED, ids=range(len(REFUSED)))
def test_what_no_format_should_have_is_refused(name: str, data: bytes, line: str) -> None:
    """[F6]"""
    with pytest.raises(BadJobFile) as caught:
        parse(data, name)
    assert caught.value.message.startswith(name)
    assert line in caught.value.message
    assert "\n" not in caught.value.message


def test_a_binary_list_within_itself_is_refused() -> None:
    """[F6]"""
    # One dictionary whose only value is itself: objects at 8, offsets at 17.
    looped = b"bplist00" + b"\xd1\x01\x00" + b"\x55Label" + b"\x08\x0b" + bytes(6) + b"\x01\x01"
    data = looped + (2).to_bytes(8, "big") + bytes(8) + (17).to_bytes(8, "big")
    assert isinstance(plistlib.loads(data)["Label"], dict)
    with pytest.raises(BadJobFile, match="Label: a label must be a text"):
        parse(data, "a.plist")


def test_whole_numbers_may_be_written_as_such_with_a_fraction_of_nothing() -> None:
    """[F10] As JSON Schema has it."""
    entry = only(parse(b'{"Label": "a", "Program": "x", "Nice": 5.0, "ThrottleInterval": 1.5}', "a.json"))
    assert (entry.spec.nice, entry.spec.throttle_s) == (5, 1.5)
