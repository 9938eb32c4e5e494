"""One job's life, clause by clause."""

from collections.abc import Callable

import pytest
from tests.core.life import KILL, START_FAILED, TERM, WALL, Life, backoff, ending, exited, finished, running, stopping

from relaunch.core import supervision as core
from relaunch.core.job import Backoff, Record, Running, Spawn, Spawned, Starting, Triggered
from relaunch.policy import CalendarEntry


def test_a_submit_is_recorded_before_it_is_ordered() -> None:
    """[S2] [S3]"""
    life = Life()
    assert life.effects == (Record("submitted", {}), Spawn(1))
    assert life.job.state == Starting(0.0, refusable=True)
    assert life.deadline is None


def test_a_job_that_was_started_says_when_and_as_what() -> None:
    """[S3] [J1]"""
    life = Life().spawned(pid=7, after=2)
    assert life.job.state == Running(7, 100, 2.0)
    assert life.job.started_at == 1_700_000_002.0
    assert life.effects == (Record("started", {"pid": 7}),)
    assert life.deadline is None


@pytest.mark.parametrize("keep_alive", [False, True])
def test_a_first_start_that_fails_is_refused(keep_alive: bool) -> None:
    """[S8] [S23] Also where it would be kept."""
    life = Life(keep_alive=keep_alive).failed()
    assert (life.word, life.kinds, life.spawns) == ("finished", ["start-failed"], [])
    assert life.record["message"] == START_FAILED.message
    assert (life.record["expected"], life.record["restart_in_s"]) == (False, None)
    assert life.job.exit == START_FAILED


@pytest.mark.parametrize(("throttle_s", "retry_s"), [(10.0, 10.0), (3.0, 3.0), (0.0, 1.0)])
def test_a_restart_that_fails_is_tried_again_after_the_throttle(throttle_s: float, retry_s: float) -> None:
    """[S8] And not at once without a throttle."""
    life = backoff(throttle_s=throttle_s) if throttle_s else running(keep_alive=True, throttle_s=0.0).exited(1)
    life.tick(after=throttle_s).failed()
    assert (life.word, life.deadline) == ("backoff", life.now + retry_s)
    assert life.record["restart_in_s"] == retry_s
    assert life.tick(after=retry_s - 0.5).word == "backoff"
    assert life.tick(after=0.5).spawns == [3]


def test_a_job_that_is_not_kept_is_not_tried_again() -> None:
    """[S8]"""
    assert finished().restart().failed().word == "finished"


def test_a_restart_asked_during_a_restart_that_fails_does_not_end_the_keeping() -> None:
    """[S8] [S9]"""
    life = backoff().tick(after=10).restart().failed()
    assert (life.word, life.record["expected"]) == ("backoff", False)


@pytest.mark.parametrize("status", [0, 1 << 8, 11, None])
def test_a_kept_job_is_started_again_however_it_ended(status: int | None) -> None:
    """[S8]"""
    life = running(keep_alive=True).exited(status, after=4)
    assert life.job.state == Backoff(10.0)
    assert life.record["restart_in_s"] == 6.0
    assert life.tick(after=5.9).word == "backoff"
    life.tick(after=0.2)
    assert (life.word, life.spawns, life.kinds) == ("starting", [2], ["starting"])
    assert (life.job.run, life.job.restarts) == (2, 1)


def test_the_throttle_counts_from_start_to_start() -> None:
    """[S8] A run that outlived it is followed at once."""
    life = running(keep_alive=True).exited(1 << 8, after=10)
    assert (life.word, life.spawns, life.kinds) == ("starting", [2], ["exited", "starting"])
    assert life.record["restart_in_s"] == 0.0


def test_the_throttle_counts_from_when_the_program_may_have_begun() -> None:
    """[S8] The order to start can be much older, where a launcher died in between."""
    assert Life(keep_alive=True).spawned(after=8).exited(1, after=1).deadline == 18
    assert Life(keep_alive=True).exited(1, after=8).deadline == 18


def test_a_new_run_has_not_begun_yet() -> None:
    """[S9] What is said of its start is not that of the run before."""
    life = backoff()
    assert life.job.started_at is not None
    assert life.tick(after=10).job.started_at is None


@pytest.mark.parametrize(
    ("status", "keep_alive", "expected"),
    [(0, False, True), (0, True, False), (1 << 8, False, False), (15, False, False), (None, False, False)],
)
def test_an_end_is_expected_when_asked_for_or_clean(status: int | None, keep_alive: bool, expected: bool) -> None:
    """[J1]"""
    assert running(keep_alive=keep_alive).exited(status).record["expected"] is expected
    assert stopping(keep_alive=keep_alive).exited(status).record["expected"] is True


def test_an_unknown_end_is_said_to_be_unknown() -> None:
    """[S22]"""
    life = running().exited(None)
    assert life.job.exit is not None
    assert (life.job.exit.reason, life.job.exit.code, life.job.exit.signal) == ("unknown", None, None)


def test_a_stop_signals_waits_the_grace_and_kills_the_tree() -> None:
    """[S4]"""
    life = running().stop(TERM, 20, after=1)
    assert (life.word, life.signals, life.deadline) == ("stopping", [TERM], 21)
    assert life.record == {"pid": 5, "why": "stopped", "restart": False}
    assert life.tick(after=19.9).signals == []
    assert life.tick(after=0.1).signals == [KILL]


def test_an_endless_grace_never_kills() -> None:
    """[S4]"""
    life = running().stop(TERM, None)
    assert life.deadline is None
    assert life.tick(after=1e6).signals == []


def test_what_is_left_five_seconds_after_kill_has_survived() -> None:
    """[S6] It is said once, and the stop goes on."""
    assert stopping().tick(after=20).deadline == 25
    life = stopping().tick(after=20)
    assert life.tick(after=4.9).kinds == []
    assert life.tick(after=0.1).kinds == ["survived"]
    assert life.word == "stopping"
    assert life.deadline is None
    assert life.tick(after=100).kinds == []
    assert life.exited(9).kinds == ["exited"]


@pytest.mark.parametrize("begin", [running, stopping, ending])
def test_a_stop_by_kill_is_judged_after_five_seconds(begin: Callable[[], Life]) -> None:
    """[S6] From any state; a grace has nothing to wait for."""
    life = begin().stop(KILL, 60, after=1)
    assert (life.signals, life.deadline) == ([KILL], 6)
    assert life.tick(after=5).kinds == ["survived"]


@pytest.mark.parametrize("begin", [stopping, ending])
@pytest.mark.parametrize("grace", [None, 60.0])
def test_a_stop_of_what_has_survived_fails_again_after_five_seconds(
    begin: Callable[[], Life], grace: float | None
) -> None:
    """[S6] Even with an endless grace."""
    life = begin().tick(after=20).tick(after=5)
    assert life.kinds == ["survived"]
    life.stop(TERM, grace, after=10)
    assert (life.signals, life.deadline) == ([KILL], life.now + 5)
    assert life.tick(after=5).kinds == ["survived"]


def test_a_second_stop_brings_kill_nearer_never_further() -> None:
    """[S4]"""
    assert stopping().stop(TERM, 5, after=1).deadline == 6
    assert stopping().stop(TERM, 60, after=1).deadline == 20
    assert stopping().stop(TERM, None, after=1).deadline == 20
    assert running().stop(TERM, None).stop(TERM, 5, after=1).deadline == 6
    assert running().stop(TERM, None).stop(2, None).signals == [2]


def test_a_second_stop_after_kill_kills_again() -> None:
    """[S4]"""
    life = stopping().tick(after=20).stop(TERM, 20, after=1)
    assert (life.signals, life.deadline) == ([KILL], 25)


@pytest.mark.parametrize(("status", "signal"), [(0, None), (15, "TERM"), (9, "KILL")])
def test_a_stopped_job_was_stopped_whatever_its_status(status: int, signal: str | None) -> None:
    """[S5]"""
    life = stopping(keep_alive=True).exited(status)
    assert (life.word, life.spawns) == ("finished", [])
    assert life.job.exit is not None
    assert (life.job.exit.reason, life.job.exit.signal) == ("stopped", signal)
    assert life.record["restart_in_s"] is None


def test_a_shutdown_is_told_from_a_stop() -> None:
    """[S13]"""
    life = running(keep_alive=True).shutdown().exited(15)
    assert life.record["reason"] == "shutdown"
    assert backoff().shutdown().effects == (Record("cancelled", {"why": "shutdown"}),)


def test_a_stop_during_a_start_ends_it_as_soon_as_it_can_be_signalled() -> None:
    """[S5]"""
    life = Life(keep_alive=True).stop(TERM, 5)
    assert (life.word, life.effects) == ("starting", ())
    life.spawned(after=1)
    assert (life.word, life.kinds, life.signals, life.deadline) == ("stopping", ["started", "stopping"], [TERM], 6)
    assert life.exited(15).word == "finished"


def test_a_stop_by_kill_during_a_start_kills() -> None:
    """[S5]"""
    life = Life().stop(KILL, 20).spawned()
    assert (life.signals, life.deadline) == ([KILL], 5)


def test_a_stop_during_a_start_that_fails_ends_it() -> None:
    """[S5]"""
    life = backoff().tick(after=10).stop().failed()
    assert (life.word, life.record["expected"], life.record["restart_in_s"]) == ("finished", True, None)


@pytest.mark.parametrize("leftover", [False, True])
def test_a_stop_during_a_start_that_ended_unseen_ends_it(leftover: bool) -> None:
    """[S5] [S7] With the grace of the stop, not of the spec."""
    life = Life(keep_alive=True, stop_timeout_s=0.0).stop(2, 5).exited(None, leftover=leftover, after=1)
    assert life.record["reason"] == "stopped"
    if leftover:
        assert (life.signals, life.deadline) == ([2], 6)
        life.gone()
    assert (life.word, life.spawns) == ("finished", [])


def test_a_stop_by_kill_during_a_start_that_ended_unseen_kills_what_is_left() -> None:
    """[S5] [S7]"""
    life = Life().stop(KILL, 20).exited(None, leftover=True)
    assert (life.signals, life.deadline) == ([KILL], 5)
    assert life.tick(after=5).kinds == ["survived"]


def test_a_stop_during_a_backoff_ends_it() -> None:
    """[S5]"""
    life = backoff().stop()
    assert (life.word, life.effects) == ("finished", (Record("cancelled", {"why": "stopped"}),))
    assert life.tick(after=100).spawns == []


def test_the_last_word_of_several_counts() -> None:
    """[S5] [S9]"""
    assert stopping().restart().exited(15).word == "starting"
    assert running().restart().stop().exited(15).word == "finished"
    assert Life().restart().stop().spawned().exited(15).word == "finished"


@pytest.mark.parametrize("status", [11, 0])
def test_what_is_left_of_a_tree_is_stopped_before_anything_follows(status: int) -> None:
    """[S7]"""
    life = running(keep_alive=True, stop_signal="INT", stop_timeout_s=3.0).exited(status, leftover=True, after=20)
    assert (life.word, life.kinds, life.signals, life.deadline) == ("ending", ["exited"], [2], 23)
    assert life.record["restart_in_s"] == 0.0
    assert life.tick(after=3).signals == [KILL]
    assert life.tick(after=5).kinds == ["survived"]
    life.gone()
    assert (life.word, life.spawns, life.kinds) == ("starting", [2], ["starting"])


def test_leftovers_do_not_shorten_the_throttle() -> None:
    """[S7] [S8]"""
    life = ending(keep_alive=True)
    assert life.record["restart_in_s"] == 10
    assert life.gone(after=1).job.state == Backoff(10.0)


def test_leftovers_of_a_job_stopped_by_kill_are_killed() -> None:
    """[S7]"""
    life = ending(stop_signal="KILL")
    assert (life.signals, life.deadline) == ([KILL], 5)


def test_leftovers_of_an_endless_grace_are_waited_for() -> None:
    """[S7]"""
    assert ending(stop_timeout_s=0.0).deadline is None


def test_leftovers_of_a_stop_keep_its_deadline() -> None:
    """[S4] The grace is one for the whole tree."""
    life = stopping(keep_alive=True).exited(15, leftover=True, after=5)
    assert (life.word, life.signals, life.deadline) == ("ending", [TERM], 20)
    assert life.tick(after=15).signals == [KILL]
    assert life.gone().word == "finished"


def test_leftovers_of_a_kill_are_killed_again() -> None:
    """[S4]"""
    life = stopping().tick(after=20).exited(9, leftover=True)
    assert (life.signals, life.deadline) == ([KILL], 25)


def test_a_stop_of_leftovers_takes_the_promised_restart_back() -> None:
    """[S5] [J1] And says so."""
    life = ending(keep_alive=True).stop(TERM, 5, after=1)
    assert (life.kinds, life.signals, life.deadline) == (["cancelled"], [TERM], 6)
    assert life.stop().kinds == []
    assert life.gone().word == "finished"
    assert ending().stop().kinds == []
    assert running().restart().exited(15, leftover=True).stop().kinds == ["cancelled"]


def test_a_restart_of_leftovers_starts_when_they_are_gone() -> None:
    """[S9] At once, whatever the throttle."""
    life = ending(keep_alive=True).restart(after=1)
    assert life.kinds == []
    assert life.gone().spawns == [2]


def test_a_restart_stops_and_starts_at_once() -> None:
    """[S9]"""
    life = running().restart()
    assert (life.word, life.signals, life.record["restart"]) == ("stopping", [TERM], True)
    life.exited(15)
    assert (life.word, life.kinds, life.spawns) == ("starting", ["exited", "starting"], [2])
    assert life.record["restart_in_s"] == 0.0


@pytest.mark.parametrize("begin", [finished, backoff])
def test_a_restart_starts_what_does_not_run(begin: Callable[[], Life]) -> None:
    """[S9]"""
    life = begin().restart()
    assert (life.word, life.kinds, life.spawns, life.job.restarts) == ("starting", ["starting"], [2], 1)


def test_a_restart_during_a_start_is_one_more_start() -> None:
    """[S9]"""
    life = Life().restart().spawned()
    assert (life.word, life.kinds) == ("stopping", ["started", "stopping"])
    assert life.exited(15).spawns == [2]


def test_a_stop_of_what_has_finished_only_keeps_the_next_boot_from_starting_it() -> None:
    """[S5] [S37]"""
    life = finished().stop()
    assert life.effects == ()
    before = life.job
    assert life.stop().job is before
    assert life.effects == ()


def test_a_stop_under_way_is_signalled_again_to_what_was_adopted() -> None:
    """[S22] The signal may have died with the launcher that sent it."""
    life = running().stop(2, 20).apply(Spawned(5, 100, adopted=True))
    assert (life.word, life.signals, life.job.adopted) == ("stopping", [2], True)
    life.tick(after=20).apply(Spawned(5, 100, adopted=True))
    assert life.signals == [KILL]
    assert running().apply(Spawned(5, 100, adopted=True)).job.adopted is True


def test_a_new_run_is_the_keepers_own_child() -> None:
    """[S22]"""
    life = running(keep_alive=True).apply(Spawned(5, 100, adopted=True)).exited(1).tick(after=10)
    assert life.job.adopted is False


@pytest.mark.parametrize(
    ("life", "signal"),
    [
        (running(stop_signal="INT"), 2),
        (running().stop(1, 20), 1),
        (running().stop(1, 20).tick(after=20), KILL),
        (ending(stop_signal="INT"), 2),
        (running().stop(1, 20).exited(1, leftover=True), 1),
    ],
)
def test_the_signal_that_is_due_is_that_of_the_stop_under_way(life: Life, signal: int) -> None:
    """[S4]"""
    assert core.signal_due(life.job) == signal


def test_a_late_report_of_an_end_changes_nothing() -> None:
    """[S20] One end is one record."""
    for life in (ending(), backoff(), finished()):
        before = life.job
        assert life.apply(exited(3)).job is before
        assert life.effects == ()


def test_a_restart_begins_the_calendar_anew() -> None:
    """[S29] What passed while the job was stopped is not made up for; that of one without a calendar stays nothing."""
    life = Life(start_calendar=(CalendarEntry(hour=3),), run_at_load=True).spawned()
    assert life.job.calendar_from == WALL
    assert life.apply(Triggered("calendar"), after=10).job.calendar_from == WALL + 10
    life.stop().exited(0, after=5)
    assert life.word == "finished"
    assert life.restart().job.calendar_from == WALL + 15
    assert running().stop().exited(0).restart().job.calendar_from == 0.0
