"""The whole table: what every event makes of every state. [S1]

Rows are states, columns events; an entry is the new state and the effects, ``=`` where nothing changes.
"""

from collections.abc import Callable

import pytest
from tests.core.life import START_FAILED, Life, backoff, ending, exited, finished, running, stopping, word

from relaunch.core import supervision as core
from relaunch.core.supervision import Ask, Effect, Event, Record, SignalTree, Spawn

EVENTS: dict[str, Event] = {
    "spawned": core.Spawned(5, 100),
    "failed": core.SpawnFailed(START_FAILED),
    "exited": exited(11),
    "leftover": exited(11, leftover=True),
    "gone": core.TreeGone(),
    "stop": core.StopAsked(Ask(15, 20.0, "stopped")),
    "restart": core.RestartAsked(Ask(15, 20.0, "stopped", restart=True)),
    "tick": core.Tick(),
}
STATES: dict[str, Callable[[], Life]] = {
    "starting": lambda: Life(keep_alive=True),
    "starting, to stop": lambda: Life(keep_alive=True).stop(),
    "starting again": lambda: backoff().tick(after=10),
    "running": lambda: running(keep_alive=True),
    "running, not kept": running,
    "stopping": lambda: stopping(keep_alive=True),
    "stopping, to start": lambda: running().restart(),
    "stopping, killed": lambda: stopping().tick(after=20),
    "ending": lambda: ending(keep_alive=True),
    "ending, not kept": ending,
    "ending, to stop": lambda: ending(keep_alive=True).stop(),
    "backoff": backoff,
    "finished": finished,
}
# Each event comes when the state's deadline has passed, or, where there is none, the throttle of a run begun at 0.
THROTTLED_UNTIL = 10.0
TABLE = """
starting           | spawned  | running: started
starting           | failed   | finished: start-failed
starting           | exited   | backoff: exited
starting           | leftover | ending: exited, signal 15
starting           | gone     | =
starting           | stop     | starting:
starting           | restart  | starting:
starting           | tick     | =
starting, to stop  | spawned  | stopping: started, stopping, signal 15
starting, to stop  | failed   | finished: start-failed
starting, to stop  | exited   | finished: exited
starting, to stop  | leftover | ending: exited, signal 15
starting, to stop  | gone     | =
starting, to stop  | stop     | starting:
starting, to stop  | restart  | starting:
starting, to stop  | tick     | =
starting again     | spawned  | running: started
starting again     | failed   | backoff: start-failed
starting again     | exited   | backoff: exited
starting again     | leftover | ending: exited, signal 15
starting again     | gone     | =
starting again     | stop     | starting:
starting again     | restart  | starting:
starting again     | tick     | =
running            | spawned  | =
running            | failed   | =
running            | exited   | starting: exited, starting, spawn 2
running            | leftover | ending: exited, signal 15
running            | gone     | =
running            | stop     | stopping: stopping, signal 15
running            | restart  | stopping: stopping, signal 15
running            | tick     | =
running, not kept  | spawned  | =
running, not kept  | failed   | =
running, not kept  | exited   | finished: exited
running, not kept  | leftover | ending: exited, signal 15
running, not kept  | gone     | =
running, not kept  | stop     | stopping: stopping, signal 15
running, not kept  | restart  | stopping: stopping, signal 15
running, not kept  | tick     | =
stopping           | spawned  | stopping: signal 15
stopping           | failed   | =
stopping           | exited   | finished: exited
stopping           | leftover | ending: exited, signal 15
stopping           | gone     | =
stopping           | stop     | stopping: signal 15
stopping           | restart  | stopping: signal 15
stopping           | tick     | stopping: signal 9
stopping, to start | spawned  | stopping: signal 15
stopping, to start | failed   | =
stopping, to start | exited   | starting: exited, starting, spawn 2
stopping, to start | leftover | ending: exited, signal 15
stopping, to start | gone     | =
stopping, to start | stop     | stopping: signal 15
stopping, to start | restart  | stopping: signal 15
stopping, to start | tick     | stopping: signal 9
stopping, killed   | spawned  | stopping: signal 9
stopping, killed   | failed   | =
stopping, killed   | exited   | finished: exited
stopping, killed   | leftover | ending: exited, signal 9
stopping, killed   | gone     | =
stopping, killed   | stop     | stopping: signal 9
stopping, killed   | restart  | stopping: signal 9
stopping, killed   | tick     | stopping: survived
ending             | spawned  | =
ending             | failed   | =
ending             | exited   | =
ending             | leftover | =
ending             | gone     | starting: starting, spawn 2
ending             | stop     | ending: cancelled, signal 15
ending             | restart  | ending: signal 15
ending             | tick     | ending: signal 9
ending, not kept   | spawned  | =
ending, not kept   | failed   | =
ending, not kept   | exited   | =
ending, not kept   | leftover | =
ending, not kept   | gone     | finished:
ending, not kept   | stop     | ending: signal 15
ending, not kept   | restart  | ending: signal 15
ending, not kept   | tick     | ending: signal 9
ending, to stop    | spawned  | =
ending, to stop    | failed   | =
ending, to stop    | exited   | =
ending, to stop    | leftover | =
ending, to stop    | gone     | finished:
ending, to stop    | stop     | ending: signal 15
ending, to stop    | restart  | ending: signal 15
ending, to stop    | tick     | ending: signal 9
backoff            | spawned  | =
backoff            | failed   | =
backoff            | exited   | =
backoff            | leftover | =
backoff            | gone     | =
backoff            | stop     | finished: cancelled
backoff            | restart  | starting: starting, spawn 2
backoff            | tick     | starting: starting, spawn 2
finished           | spawned  | =
finished           | failed   | =
finished           | exited   | =
finished           | leftover | =
finished           | gone     | =
finished           | stop     | =
finished           | restart  | starting: starting, spawn 2
finished           | tick     | =
"""
ROWS = [tuple(cell.strip() for cell in line.split("|")) for line in TABLE.strip().splitlines()]


def named(effect: Effect) -> str:
    match effect:
        case Record(kind=kind):
            return kind
        case SignalTree(signal=number):
            return f"signal {number}"
        case Spawn(run=run):
            return f"spawn {run}"


def test_the_table_is_whole() -> None:
    """[S1]"""
    assert [row[:2] for row in ROWS] == [(state, event) for state in STATES for event in EVENTS]


@pytest.mark.parametrize(("state", "event", "expected"), ROWS)
def test_each_event_makes_of_each_state_what_the_table_says(state: str, event: str, expected: str) -> None:
    """[S1]"""
    before = STATES[state]().job
    now = core.deadline(before) or THROTTLED_UNTIL
    after, effects = core.transition(before, EVENTS[event], now, now)
    if expected == "=":
        assert (after, effects) == (before, ())
    else:
        assert f"{word(after)}: {', '.join(map(named, effects))}".strip() == expected


@pytest.mark.parametrize("state", STATES)
def test_a_step_never_forgets_what_the_job_is(state: str) -> None:
    """[S1] And no run is started without its record. [S2]"""
    before = STATES[state]().job
    for event in EVENTS.values():
        after, effects = core.transition(before, event, 1e6, 1e6)
        assert (after.id, after.spec, after.submitted_at) == (before.id, before.spec, before.submitted_at)
        assert [effect.run for effect in effects if isinstance(effect, Spawn)] == list(
            range(before.run + 1, after.run + 1)
        )
        assert after.run == before.run or Record("starting", {}) in effects
