"""Deadlines by name, held against a plain table of them. [S24]"""

from hypothesis import given
from hypothesis import strategies as st
from tests.core.examples import repeatable

from relaunch.core.deadlines import Deadlines

NAMES = st.sampled_from("abcde")
TIMES = st.integers(0, 20).map(float)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), NAMES, TIMES),
        st.tuples(st.just("drop"), NAMES, st.none()),
        st.tuples(st.just("due"), st.none(), TIMES),
    ),
    max_size=80,
)


@repeatable
@given(STEPS)
def test_the_last_word_for_each_name_counts(steps: list[tuple[str, str, float]]) -> None:
    """[S24] Whatever was said before, what is due comes once, in order, and the earliest of the rest is the first."""
    deadlines, plain = Deadlines(), dict[str, float]()
    for step, name, at in steps:
        if step == "set":
            deadlines.set(name, at)
            plain[name] = at
        elif step == "drop":
            deadlines.drop(name)
            plain.pop(name, None)
        else:
            due = sorted((when, who) for who, when in plain.items() if when <= at)
            assert deadlines.take_due(at) == due
            plain = {who: when for who, when in plain.items() if when > at}
        assert deadlines.first == min(plain.values(), default=None)
        assert {who: deadlines.get(who) for who in "abcde"} == {who: plain.get(who) for who in "abcde"}


def test_what_counts_no_more_costs_no_memory() -> None:
    """[S24] A deadline that only moves away, or names that come and go, for ever."""
    deadlines = Deadlines()
    for number in range(10_000):
        deadlines.set("moves", float(number))
        deadlines.set("stays", 1e12)
        deadlines.set(str(number), 1e9)
        deadlines.drop(str(number))
    assert len(deadlines._heap) < 100
    assert deadlines.take_due(1e6) == [(9999.0, "moves")]
    assert deadlines.first == 1e12
