"""Labels and patterns. [W8] [W9]"""

import fnmatch
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.examples import labels, repeatable

from relaunch.errors import BadLabel, BadPattern
from relaunch.labels import check_label, compile_pattern, is_pattern, select

ALPHABET = string.ascii_letters + string.digits + "._-@:+=~"


@pytest.mark.parametrize("label", ["a", "9", "db/replica-1", ".hidden", "a..b", "...", "~x@host:80", "a" * 200, "a/-b"])
def test_a_label_is_taken_as_it_is(label: str) -> None:
    """[W8]"""
    assert check_label(label) == label


@pytest.mark.parametrize(
    ("label", "what"),
    [
        ("", "at least one"),
        (None, "must be a text"),
        (7, "must be a text"),
        ("a" * 201, "201 characters"),
        ("a b", "holds ' '"),
        ("a\n", r"holds '\\n'"),
        ("é", "holds 'é'"),
        ("a*", r"holds '\*'"),
        ("[a]", r"holds '\['"),
        ("-a", "begins with '-'"),
        ("/a", "leave it out"),
        ("a/", "empty"),
        ("a//b", "empty"),
        ("a/./b", "'.'"),
        ("..", "'..'"),
        ("a/../b", "'..'"),
    ],
)
def test_what_is_no_label_is_refused_with_the_reason(label: object, what: str) -> None:
    """[W8]"""
    with pytest.raises(BadLabel, match=what):
        check_label(label)


def test_every_other_character_is_refused() -> None:
    """[W8]"""
    for character in {chr(code) for code in range(256)}.difference(ALPHABET, "/"):
        with pytest.raises(BadLabel):
            check_label(f"a{character}b")


@repeatable
@given(labels)
def test_a_label_is_a_pattern_of_itself_alone(label: str) -> None:
    """[W8] [W9]"""
    check_label(label)
    assert not is_pattern(label)
    assert compile_pattern(label)(label)
    assert not compile_pattern(label)(label + "a")
    assert not compile_pattern(label)("a" + label)


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        ("*", "a a/b a/b/c", ""),
        ("a*", "a ab a/b", "ba"),
        ("a/*/c", "a/b/c a/b/b/c", "a/c a/b"),
        ("**b", "b ab a/b", "ba"),
        ("a?c", "abc a/c", "ac abbc"),
        ("n[12]", "n1 n2", "n3 n12"),
        ("n[1-3]x", "n1x n3x", "n4x n1"),
        ("n[!1-3]", "n4 n/", "n1 n3"),
        ("[]a]", "a", "b"),
        ("[-a]", "- a", "b"),
        ("[a-]", "- a", "b"),
        ("[^a]", "a", "b"),
        ("[!.]*.x", "a.x", ".x .a.x"),
        ("a.b", "a.b", "axb"),
        ("*-1*-2", "a-1-2 -1x-2", "a-2-1 a-1-23"),
    ],
)
def test_a_pattern_matches_the_whole_label(pattern: str, matched: str, others: str) -> None:
    """[W9]"""
    test = compile_pattern(pattern)
    assert all(map(test, matched.split()))
    assert not any(map(test, others.split()))


globs = st.lists(st.sampled_from(["*", "?", "a", "b", "/", ".", "[ab]", "[!a]", "[a-c]"]), min_size=1).map("".join)


@repeatable
@given(globs, st.text("abcd/.", max_size=12))
def test_patterns_mean_what_a_shell_means_by_them(pattern: str, label: str) -> None:
    """[W9]"""
    assert compile_pattern(pattern)(label) is fnmatch.fnmatchcase(label, pattern)


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        ("", "empty"),
        ("a" * 201, "longer"),
        ("a[", "never closes"),
        ("a[bc", "never closes"),
        ("[]", "never closes"),
        ("[!]", "never closes"),
        ("[z-a]", "reversed range z-a"),
    ],
)
def test_a_malformed_pattern_is_refused(pattern: str, what: str) -> None:
    """[W9]"""
    with pytest.raises(BadPattern, match=what):
        compile_pattern(pattern)


def test_no_pattern_takes_long() -> None:
    """[W9] Many stars, each of which could stand for anything."""
    before = time.process_time()
    assert not compile_pattern("*a" * 99 + "*b")("a" * 200)
    assert not compile_pattern("*?" * 99 + "b")("a" * 200)
    assert time.process_time() - before < 1


def test_labels_are_chosen_in_their_own_order_each_once() -> None:
    """[W9]"""
    assert select(["b", "a*", "*"], ["c", "b", "a1"]) == (["c", "b", "a1"], [])
    assert select([], ["c", "a"]) == (["c", "a"], [])
    assert select(iter(["a*"]), iter(["c", "a"])) == (["a"], [])


def test_patterns_that_choose_nothing_are_named() -> None:
    """[W9]"""
    assert select(["x", "a", "y*"], ["a", "b"]) == (["a"], ["x", "y*"])


def test_a_malformed_pattern_among_others_is_refused() -> None:
    """[W9]"""
    with pytest.raises(BadPattern):
        select(["a", "["], ["a"])
