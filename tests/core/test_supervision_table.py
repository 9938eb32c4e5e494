"""The whole table: what every event makes of every state. [S1]

Rows are states, columns events; an entry is the new state and the effects, ``=`` where nothing changes.
"""

from collections.abc import Callable

import pytest
from tests.core.life import (
    START_FAILED,
    Life,
    backoff,
    ending,
    exited,
    finished,
    owed,
    running,
    stopping,
    waiting,
    word,
)

from relaunch.core import supervision as core
from relaunch.core.job import (
    Ask,
    BecameReady,
    Booted,
    Conditions,
    Effect,
    Event,
    Record,
    RestartAsked,
    SignalTree,
    Spawn,
    Spawned,
    SpawnFailed,
    StopAsked,
    Tick,
    TreeGone,
    Triggered,
)
from relaunch.policy import Ready, RestartLimit

EVENTS: dict[str, Event] = {
    "spawned": Spawned(5, 100),
    "failed": SpawnFailed(START_FAILED),
    "exited": exited(11),
    "leftover": exited(11, leftover=True),
    "gone": TreeGone(),
    "stop": StopAsked(Ask(15, 20.0, "stopped")),
    "restart": RestartAsked(Ask(15, 20.0, "stopped", restart=True)),
    "ready": BecameReady(),
    "trigger": Triggered("calendar"),
    "hold": Conditions(hold=True, held=False),
    "held": Conditions(hold=False, held=True),
    "booted": Booted(),
    "tick": Tick(),
}
STATES: dict[str, Callable[[], Life]] = {
    "starting": lambda: Life(keep_alive=True),
    "starting, to stop": lambda: Life(keep_alive=True).stop(),
    "starting again": lambda: backoff().tick(after=10),
    "running": lambda: running(keep_alive=True),
    "running, not kept": running,
    "running, not ready": lambda: running(ready=Ready(notify=True, timeout_s=5.0)),
    "stopping": lambda: stopping(keep_alive=True),
    "stopping, to start": lambda: running().restart(),
    "stopping, killed": lambda: stopping().tick(after=20),
    "ending": lambda: ending(keep_alive=True),
    "ending, not kept": ending,
    "ending, to stop": lambda: ending(keep_alive=True).stop(),
    "backoff": backoff,
    "waiting": waiting,
    "waiting, owed": owed,
    "finished": finished,
    "finished, at load": lambda: finished(run_at_load=True),
    "finished, to wait": lambda: waiting().shutdown(),
    "stopped": lambda: stopping(run_at_load=True).exited(),
    "failed": lambda: running(keep_alive=True, restart_limit=RestartLimit(count=0, within_s=9.0)).exited(),
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
starting           | ready    | =
starting           | trigger  | starting:
starting           | hold     | starting:
starting           | held     | starting:
starting           | booted   | =
starting           | tick     | =
starting, to stop  | spawned  | stopping: started, stopping, signal 15
starting, to stop  | failed   | finished: start-failed
starting, to stop  | exited   | finished: exited
starting, to stop  | leftover | ending: exited, signal 15
starting, to stop  | gone     | =
starting, to stop  | stop     | =
starting, to stop  | restart  | starting:
starting, to stop  | ready    | =
starting, to stop  | trigger  | starting:
starting, to stop  | hold     | starting:
starting, to stop  | held     | starting:
starting, to stop  | booted   | =
starting, to stop  | tick     | =
starting again     | spawned  | running: started
starting again     | failed   | backoff: start-failed
starting again     | exited   | backoff: exited
starting again     | leftover | ending: exited, signal 15
starting again     | gone     | =
starting again     | stop     | starting:
starting again     | restart  | starting:
starting again     | ready    | =
starting again     | trigger  | starting:
starting again     | hold     | starting:
starting again     | held     | starting:
starting again     | booted   | =
starting again     | tick     | =
running            | spawned  | =
running            | failed   | =
running            | exited   | starting: exited, starting, spawn 2
running            | leftover | ending: exited, signal 15
running            | gone     | =
running            | stop     | stopping: stopping, signal 15
running            | restart  | stopping: stopping, signal 15
running            | ready    | running: ready
running            | trigger  | running:
running            | hold     | running:
running            | held     | running:
running            | booted   | =
running            | tick     | =
running, not kept  | spawned  | =
running, not kept  | failed   | =
running, not kept  | exited   | finished: exited
running, not kept  | leftover | ending: exited, signal 15
running, not kept  | gone     | =
running, not kept  | stop     | stopping: stopping, signal 15
running, not kept  | restart  | stopping: stopping, signal 15
running, not kept  | ready    | running: ready
running, not kept  | trigger  | running:
running, not kept  | hold     | running:
running, not kept  | held     | running:
running, not kept  | booted   | =
running, not kept  | tick     | =
running, not ready | spawned  | =
running, not ready | failed   | =
running, not ready | exited   | finished: exited
running, not ready | leftover | ending: exited, signal 15
running, not ready | gone     | =
running, not ready | stop     | stopping: stopping, signal 15
running, not ready | restart  | stopping: stopping, signal 15
running, not ready | ready    | running: ready
running, not ready | trigger  | running:
running, not ready | hold     | running:
running, not ready | held     | running:
running, not ready | booted   | =
running, not ready | tick     | running: not-ready
stopping           | spawned  | stopping: signal 15
stopping           | failed   | =
stopping           | exited   | finished: exited
stopping           | leftover | ending: exited, signal 15
stopping           | gone     | =
stopping           | stop     | stopping: signal 15
stopping           | restart  | stopping: signal 15
stopping           | ready    | =
stopping           | trigger  | stopping:
stopping           | hold     | stopping:
stopping           | held     | stopping:
stopping           | booted   | =
stopping           | tick     | stopping: signal 9
stopping, to start | spawned  | stopping: signal 15
stopping, to start | failed   | =
stopping, to start | exited   | starting: exited, starting, spawn 2
stopping, to start | leftover | ending: exited, signal 15
stopping, to start | gone     | =
stopping, to start | stop     | stopping: signal 15
stopping, to start | restart  | stopping: signal 15
stopping, to start | ready    | =
stopping, to start | trigger  | stopping:
stopping, to start | hold     | stopping:
stopping, to start | held     | stopping:
stopping, to start | booted   | =
stopping, to start | tick     | stopping: signal 9
stopping, killed   | spawned  | stopping: signal 9
stopping, killed   | failed   | =
stopping, killed   | exited   | finished: exited
stopping, killed   | leftover | ending: exited, signal 9
stopping, killed   | gone     | =
stopping, killed   | stop     | stopping: signal 9
stopping, killed   | restart  | stopping: signal 9
stopping, killed   | ready    | =
stopping, killed   | trigger  | stopping:
stopping, killed   | hold     | stopping:
stopping, killed   | held     | stopping:
stopping, killed   | booted   | =
stopping, killed   | tick     | stopping: survived
ending             | spawned  | =
ending             | failed   | =
ending             | exited   | =
ending             | leftover | =
ending             | gone     | starting: starting, spawn 2
ending             | stop     | ending: cancelled, signal 15
ending             | restart  | ending: signal 15
ending             | ready    | =
ending             | trigger  | ending:
ending             | hold     | ending:
ending             | held     | ending:
ending             | booted   | =
ending             | tick     | ending: signal 9
ending, not kept   | spawned  | =
ending, not kept   | failed   | =
ending, not kept   | exited   | =
ending, not kept   | leftover | =
ending, not kept   | gone     | finished:
ending, not kept   | stop     | ending: signal 15
ending, not kept   | restart  | ending: signal 15
ending, not kept   | ready    | =
ending, not kept   | trigger  | ending:
ending, not kept   | hold     | ending:
ending, not kept   | held     | ending:
ending, not kept   | booted   | =
ending, not kept   | tick     | ending: signal 9
ending, to stop    | spawned  | =
ending, to stop    | failed   | =
ending, to stop    | exited   | =
ending, to stop    | leftover | =
ending, to stop    | gone     | finished:
ending, to stop    | stop     | ending: signal 15
ending, to stop    | restart  | ending: signal 15
ending, to stop    | ready    | =
ending, to stop    | trigger  | ending:
ending, to stop    | hold     | ending:
ending, to stop    | held     | ending:
ending, to stop    | booted   | =
ending, to stop    | tick     | ending: signal 9
backoff            | spawned  | =
backoff            | failed   | =
backoff            | exited   | =
backoff            | leftover | =
backoff            | gone     | =
backoff            | stop     | finished: cancelled
backoff            | restart  | starting: starting, spawn 2
backoff            | ready    | =
backoff            | trigger  | backoff:
backoff            | hold     | backoff:
backoff            | held     | backoff:
backoff            | booted   | =
backoff            | tick     | starting: starting, spawn 2
waiting            | spawned  | =
waiting            | failed   | =
waiting            | exited   | =
waiting            | leftover | =
waiting            | gone     | =
waiting            | stop     | finished: cancelled
waiting            | restart  | starting: starting, spawn 1
waiting            | ready    | =
waiting            | trigger  | starting: starting, spawn 1
waiting            | hold     | starting: starting, spawn 1
waiting            | held     | waiting:
waiting            | booted   | waiting:
waiting            | tick     | starting: starting, spawn 1
waiting, owed      | spawned  | =
waiting, owed      | failed   | =
waiting, owed      | exited   | =
waiting, owed      | leftover | =
waiting, owed      | gone     | =
waiting, owed      | stop     | finished: cancelled
waiting, owed      | restart  | waiting: waiting
waiting, owed      | ready    | =
waiting, owed      | trigger  | waiting:
waiting, owed      | hold     | starting: starting, spawn 1
waiting, owed      | held     | =
waiting, owed      | booted   | =
waiting, owed      | tick     | =
finished           | spawned  | =
finished           | failed   | =
finished           | exited   | =
finished           | leftover | =
finished           | gone     | =
finished           | stop     | finished:
finished           | restart  | starting: starting, spawn 2
finished           | ready    | =
finished           | trigger  | finished:
finished           | hold     | finished:
finished           | held     | finished:
finished           | booted   | =
finished           | tick     | =
finished, at load  | spawned  | =
finished, at load  | failed   | =
finished, at load  | exited   | =
finished, at load  | leftover | =
finished, at load  | gone     | =
finished, at load  | stop     | finished:
finished, at load  | restart  | starting: starting, spawn 2
finished, at load  | ready    | =
finished, at load  | trigger  | finished:
finished, at load  | hold     | finished:
finished, at load  | held     | finished:
finished, at load  | booted   | starting: starting, spawn 2
finished, at load  | tick     | =
finished, to wait  | spawned  | =
finished, to wait  | failed   | =
finished, to wait  | exited   | =
finished, to wait  | leftover | =
finished, to wait  | gone     | =
finished, to wait  | stop     | finished:
finished, to wait  | restart  | starting: starting, spawn 1
finished, to wait  | ready    | =
finished, to wait  | trigger  | finished:
finished, to wait  | hold     | finished:
finished, to wait  | held     | finished:
finished, to wait  | booted   | waiting:
finished, to wait  | tick     | =
stopped            | spawned  | =
stopped            | failed   | =
stopped            | exited   | =
stopped            | leftover | =
stopped            | gone     | =
stopped            | stop     | =
stopped            | restart  | starting: starting, spawn 2
stopped            | ready    | =
stopped            | trigger  | finished:
stopped            | hold     | finished:
stopped            | held     | finished:
stopped            | booted   | =
stopped            | tick     | =
failed             | spawned  | =
failed             | failed   | =
failed             | exited   | =
failed             | leftover | =
failed             | gone     | =
failed             | stop     | finished:
failed             | restart  | starting: starting, spawn 2
failed             | ready    | =
failed             | trigger  | finished:
failed             | hold     | finished:
failed             | held     | finished:
failed             | booted   | starting: starting, spawn 2
failed             | tick     | =
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
        assert after.run == before.run or "starting" in [named(effect) for effect in effects]
