"""Node sets are read as ClusterShell reads them, and folded into what means the same."""

from pathlib import Path

import pytest
from ClusterShell.NodeSet import NodeSet, NodeSetException
from hypothesis import example, given
from hypothesis import strategies as st

from relaunch.client import nodesets
from relaunch.client.nodesets import expand, fold
from relaunch.errors import BadHost, Usage

affixes = st.text("abn.-_019:", max_size=4)
numbers = st.from_regex(r"0{0,2}[0-9]{1,3}", fullmatch=True)
items = st.one_of(
    numbers,
    st.tuples(numbers, numbers).map("-".join),
    st.sampled_from(["", "a", "1-2-3", "0-10/3", "00-10/2", "-1", " 1", "1 - 3", "٣", "1-"]),
)
brackets = st.lists(items, min_size=1, max_size=3).map(",".join).map("[{}]".format)
words = st.lists(st.one_of(affixes, brackets), min_size=1, max_size=3).map("".join)
names = st.from_regex(r"[a-c]{1,2}[0-9]{0,4}(-ib[0-9])?", fullmatch=True)


def clustershell(text: str) -> list[str] | None:
    """What it makes of a text; None where it takes it for malformed."""
    try:
        return list(NodeSet(text))
    except (NodeSetException, ValueError):
        return None


@given(words)
@example("n[01-10]")
@example("n[1-3]5")
@example("n1[08-11]")
@example("n[1-2,01]")
@example("n[9-010]")
@example("n[5-1]")
@example("n[0-00]")
@example("rack1-n[3,1,2]-ib0")
def test_one_pair_of_brackets_is_read_as_clustershell_reads_it(word: str) -> None:
    """[R8]"""
    found = nodesets._simple(word, "-H")
    if found is not None:
        assert found == clustershell(word)


@given(st.lists(st.one_of(names, words.filter(lambda word: "[:" not in word)), min_size=1, max_size=4))
def test_a_list_means_the_same_hosts_as_to_clustershell(parts: list[str]) -> None:
    """[R8]"""
    text = ",".join(parts)
    try:
        found = nodesets._expand(text, "-H")
        hosts = set(found)
    except Usage:
        return
    if all(":" not in part for part in parts):
        assert hosts == set(clustershell(text) or [])


def test_simple_forms_do_not_import_clustershell(monkeypatch: pytest.MonkeyPatch) -> None:
    """[R8]"""
    monkeypatch.setattr(nodesets, "_asked_of_clustershell", None)
    assert expand(["n[1-3],web"]) == ["n1", "n2", "n3", "web"]
    assert expand(["rack1-n[08-10]-ib"]) == ["rack1-n08-ib", "rack1-n09-ib", "rack1-n10-ib"]


@given(st.lists(names, min_size=1, max_size=12, unique=True))
@example(["n9", "n10", "n09"])
@example(["n99", "n100", "n099"])
@example(["n0", "n1", "n00", "n01"])
def test_what_is_folded_means_the_same_hosts(hosts: list[str]) -> None:
    """[R8]"""
    assert set(NodeSet(fold(hosts))) == set(hosts)
    assert set(expand([fold(hosts)])) == set(hosts)


def test_hosts_are_folded() -> None:
    """[R8]"""
    assert fold([f"node{number}" for number in range(1, 64)]) == "node[1-63]"
    assert fold(["n1", "web", "n2", "n08", "n09", "n10", "n4"]) == "n[1-2,4,08-10],web"
    assert fold(["a"]) == "a"


@pytest.mark.parametrize(
    ("texts", "hosts"),
    [
        (["n2,n1"], ["n2", "n1"]),
        (["n2 n1", "n2,n3"], ["n2", "n1", "n3"]),
        (["n1, n2"], ["n1", "n2"]),
        (["root@h[1-2],user@h3:22"], ["root@h1", "root@h2", "user@h3:22"]),
        (["n[1-5]!n[2-4]"], ["n1", "n5"]),
        (["n[1-5]&n[4-9]"], ["n4", "n5"]),
        (["n[1-3]^n[3-4]"], ["n1", "n2", "n4"]),
        (["n[1-2]x[1-2]"], ["n1x1", "n1x2", "n2x1", "n2x2"]),
        (["n[0-10/5]"], ["n0", "n5", "n10"]),
        (["::1,fe80::1%eth0,ssh://root@[::1]:22,n[1-2]"], ["::1", "fe80::1%eth0", "ssh://root@[::1]:22", "n1", "n2"]),
    ],
)
def test_hosts_come_in_the_order_typed_and_once(texts: list[str], hosts: list[str]) -> None:
    """[R8]"""
    assert expand(texts) == hosts


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "names no host"),
        (" ", "names no host"),
        ("n1!n1", "names no host"),
        ("n[1-3", "missing bracket"),
        ("n]", "no set of hosts"),
        ("n[]", "empty range"),
        ("n[5-1]", "invalid values"),
        ("n[1-010]", "padding"),
        ("n[a-b]", "integer"),
        ("n1,,n2", "nothing before"),
        (",n1", "nothing before"),
        ("n1,", "nothing after"),
        ("n1&", "missing"),
        ("@no-such-group", "no-such-group"),
        ("n[1-99999999]", "more than"),
        ("n[1-5000],m[1-5001]", "more than"),
        ("n[1-999]x[1-999]", "more than"),
        ("n[1-99999999]!n1", "more than"),
        ("^/no/such/file", "cannot be read: No such file"),
    ],
)
def test_what_is_malformed_is_one_line_that_names_it(text: str, part: str) -> None:
    """[R8]"""
    with pytest.raises(Usage) as caught:
        expand([text])
    assert part in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "text",
    ["-oProxyCommand=x", "n1;id", "n1,$(id)", "a`id`", "user@-x", "h'", "h|x", "n\0", "n1:0", "ssh://u@[::1]:65536"],
)
def test_hostile_names_are_refused(text: str) -> None:
    """[R4][R8]"""
    with pytest.raises((BadHost, Usage)):
        expand([text])


def test_a_file_holds_hosts(tmp_path: Path) -> None:
    """[R8]"""
    file = tmp_path / "hosts"
    file.write_text("# the cluster\nn[1-2]  # two\n\nweb, db\n")
    assert expand([f"^{file}"]) == ["n1", "n2", "web", "db"]
    assert expand([f"n9,^{file}"]) == ["n9", "n1", "n2", "web", "db"]
    file.write_text("^other\n")
    with pytest.raises(Usage, match="names no other file"):
        expand([f"^{file}"])
    file.write_bytes(b"\xff\xfe\0")
    with pytest.raises(Usage, match="it is not text"):
        expand([f"^{file}"])
    file.write_text("n[1-")
    with pytest.raises(Usage, match="bracket"):
        expand([f"^{file}"])


def test_a_file_without_an_end_is_refused() -> None:
    """[R8]"""
    with pytest.raises(Usage, match="at most"):
        expand(["^/dev/zero"])
