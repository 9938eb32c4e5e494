"""What may be asked for in a subscription, and which events it chooses."""

from typing import Any

import pytest

from relaunch.errors import BadCall, BadPattern, BadSpec, RelaunchError
from relaunch.subscription import BEAT_S, LEASE_S, PATTERNS_MAX, Filter, SubscriptionSpec, check_name

WIRE: dict[str, Any] = {"id": "0" * 32, "address": "10.0.0.1:9000", "fingerprint": "a" * 64, "secret": "5ec" + "0" * 61}


@pytest.mark.parametrize(
    ("kind", "label", "wanted"),
    [
        ("job.exited", "o1", True),
        ("job.start-failed", "o1", True),
        ("job.failed", "o1", True),
        ("job.not-ready", "o1", True),
        ("job.ready", "o1", False),
        ("job.started", "o1", False),
        ("launcher.started", None, True),
        ("launcher.restarted", None, True),
        ("launcher.lost", None, True),
        ("launcher.stopped", None, False),
        ("host.suspect", None, True),
        ("subscription.begun", None, False),
        ("stream.snapshot", None, False),
    ],
)
def test_the_kinds_that_are_told_unless_others_are_asked_for(kind: str, label: str | None, wanted: bool) -> None:
    assert Filter()(kind, label) is wanted


def test_kinds_are_names_or_globs_or_all() -> None:
    assert Filter(kinds=["job.started"])("job.started", "a")
    assert not Filter(kinds=["job.started"])("job.exited", "a")
    assert Filter(kinds=["job.*"])("job.exited", "a")
    assert not Filter(kinds=["job.*"])("launcher.started", None)
    assert Filter(kinds=["all"])("whatever.comes", None)
    assert Filter(kinds=["launcher.*", "all"])("job.exited", "a")


def test_patterns_are_about_labels_and_what_has_none_passes() -> None:
    chosen = Filter(["o*", "exact"], ["all"])
    assert [label for label in ("o", "o/1", "exact", "exactly", "no") if chosen("job.exited", label)] == [
        "o",
        "o/1",
        "exact",
    ]
    assert chosen("launcher.started", None)


@pytest.mark.parametrize(("patterns", "kinds"), [(["["], []), ([], ["["]), ([""], [])])
def test_a_malformed_pattern_is_refused(patterns: list[str], kinds: list[str]) -> None:
    with pytest.raises(BadPattern):
        Filter(patterns, kinds)


def test_what_is_not_asked_for_is_at_its_default() -> None:
    spec = SubscriptionSpec.from_wire({**WIRE, "name": None})
    assert (spec.name, spec.transport, spec.patterns, spec.kinds) == (None, "quic", (), ())
    assert (spec.beat_s, spec.lease_s) == (BEAT_S, LEASE_S)


def test_it_goes_over_the_wire_and_back() -> None:
    wire = {
        **WIRE,
        "name": "watch",
        "transport": "tcp",
        "patterns": ["o*"],
        "kinds": ["all"],
        "beat_s": 1,
        "lease_s": 0,
    }
    spec = SubscriptionSpec.from_wire(wire)
    assert spec.to_wire() == wire
    assert SubscriptionSpec.from_wire(spec.to_wire()) == spec


def test_its_secret_is_not_shown() -> None:
    """[D15] Whatever is logged of it."""
    spec = SubscriptionSpec.from_wire(WIRE)
    assert spec.secret not in f"{spec!r} {spec}"
    assert spec.id in repr(spec)


WRONG: list[tuple[object, str]] = [
    (None, "must be an object"),
    ([], "must be an object"),
    ({}, "id"),
    ({**WIRE, "id": None}, "id"),
    ({**WIRE, "id": "A" * 32}, "id"),
    ({**WIRE, "id": "0" * 33}, "id"),
    ({**WIRE, "address": ""}, "address"),
    ({**WIRE, "address": "h:1\n"}, "address"),
    ({**WIRE, "address": "h" * 301}, "address"),
    ({**WIRE, "transport": "udp"}, "transport"),
    ({**WIRE, "fingerprint": "a" * 63 + "g"}, "fingerprint"),
    ({**WIRE, "secret": 7}, "secret"),
    ({**WIRE, "name": ""}, "name"),
    ({**WIRE, "name": "../up"}, "name"),
    ({**WIRE, "name": 7}, "name"),
    ({**WIRE, "patterns": "o*"}, "patterns"),
    ({**WIRE, "patterns": [1]}, "patterns"),
    ({**WIRE, "patterns": ["a"] * (PATTERNS_MAX + 1)}, "patterns"),
    ({**WIRE, "beat_s": 0.01}, "beat_s"),
    ({**WIRE, "beat_s": True}, "beat_s"),
    ({**WIRE, "lease_s": float("inf")}, "lease_s"),
    ({**WIRE, "lease_s": "1"}, "lease_s"),
    ({**WIRE, "colour": "red"}, "no field 'colour'"),
]


@pytest.mark.parametrize(("wire", "told"), WRONG, ids=lambda value: str(value)[-40:])
def test_what_is_wrong_is_named(wire: object, told: str) -> None:
    """[W5]"""
    with pytest.raises(BadCall, match=told) as error:
        SubscriptionSpec.from_wire(wire)
    assert "5ec" not in str(error.value)


def test_a_malformed_pattern_is_refused_at_once() -> None:
    with pytest.raises(BadPattern):
        SubscriptionSpec.from_wire({**WIRE, "patterns": ["[z-a]"]})


@pytest.mark.parametrize("name", ["a", "watch-1", "_x", "me@host.example+1", "x" * 100])
def test_a_name_becomes_a_files_name(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "-x", "a/b", "a b", "a\n", "x" * 101, "é"])
def test_what_could_not_be_a_files_name_is_refused(name: str) -> None:
    with pytest.raises(BadSpec) as error:
        check_name(name)
    assert isinstance(error.value, RelaunchError)
    assert error.value.message.isprintable()
