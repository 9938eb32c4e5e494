"""What follows the end of a run: launchd's conditions, the throttle, the growing delay, the restart limit."""

import signal

import pytest
from tests.core.life import Life, finished, owed, running, waiting

from relaunch.core.job import Backoff, Conditions, Exited, Finished, Triggered, Waiting
from relaunch.core.restarting import CRASH_SIGNALS
from relaunch.policy import KeepAlive, Ready, RestartLimit, Spacing

OK, FAILED, SEGV, KILLED = 0, 1 << 8, signal.SIGSEGV, signal.SIGKILL


@pytest.mark.parametrize(
    ("conditions", "again"),
    [
        ({"successful_exit": True}, {OK}),
        ({"successful_exit": False}, {FAILED, SEGV, KILLED, None}),
        ({"crashed": True}, {SEGV}),
        ({"crashed": False}, {OK, FAILED, KILLED, None}),
        ({"crashed": True, "successful_exit": True}, {OK, SEGV}),
        ({"paths": {"/x": True}}, set()),
    ],
)
def test_a_job_is_started_again_after_the_ends_that_its_conditions_name(
    conditions: dict[str, object], again: set[int | None]
) -> None:
    """[S33]"""
    kept = KeepAlive(**conditions)  # type: ignore[arg-type] # the table above has its fields
    for status in (OK, FAILED, SEGV, KILLED, None):
        life = running(keep_alive_when=kept, run_at_load=True).exited(status, after=20)
        assert bool(life.spawns) == (status in again), status


def test_what_tells_of_a_crash_are_signals() -> None:
    """[S33] As launchd.plist(5) has them."""
    assert {getattr(signal, f"SIG{name}") for name in CRASH_SIGNALS} >= {signal.SIGILL, signal.SIGSEGV, signal.SIGABRT}


def test_a_condition_that_holds_has_a_job_started_at_its_submit_and_again() -> None:
    """[S28] [S33]"""
    life = Life(hold=True, keep_alive_when=KeepAlive(paths={"/x": True}))
    assert life.spawns == [1]
    assert life.spawned().exited(OK, after=20).spawns == [2]


def test_a_job_that_waits_for_a_path_is_started_once_it_is_there() -> None:
    """[S33]"""
    life = Life(keep_alive_when=KeepAlive(paths={"/x": True}))
    assert life.spawns == []
    assert life.apply(Conditions(hold=False, held=False)).spawns == []
    assert life.apply(Conditions(hold=True, held=False)).spawns == [1]


def test_a_condition_that_has_passed_when_the_throttle_is_over_starts_nothing() -> None:
    """[S33]"""
    life = Life(hold=True, keep_alive_when=KeepAlive(paths={"/x": True})).spawned().exited(OK, after=1)
    assert life.job.state == Backoff(10.0, "condition")
    life.apply(Conditions(hold=False, held=False)).tick(after=9)
    assert life.word == "waiting"


@pytest.mark.parametrize("at_submit", [True, False])
def test_a_condition_that_has_passed_when_what_it_depends_on_is_ready_starts_nothing(*, at_submit: bool) -> None:
    """[S33] [S34] Its job waits for it as before, and not for the other one."""
    life = Life(hold=at_submit, held=True, keep_alive_when=KeepAlive(paths={"/x": True}), depends_on=("b",))
    life.apply(Conditions(hold=True, held=True), after=1)
    assert life.job.state == Waiting(since=0.0 if at_submit else 1.0, owed="condition")
    life.apply(Conditions(hold=False, held=True), after=1)
    assert isinstance(life.job.state, Waiting)
    assert life.job.state.owed is None
    assert life.apply(Conditions(hold=False, held=False)).spawns == []
    assert life.apply(Conditions(hold=True, held=False)).spawns == [1]


def test_what_starts_a_job_starts_nothing_while_a_job_it_depends_on_is_not_ready() -> None:
    """[S34]"""
    life = owed()
    assert life.kinds == ["submitted", "waiting"]
    before = life.job
    assert life.apply(Triggered("path")).job is before
    assert life.apply(Conditions(hold=False, held=False)).spawns == [1]


def test_a_job_that_waits_by_itself_may_also_be_held() -> None:
    """[S34] The start is owed then."""
    life = waiting(depends_on=("b",)).apply(Conditions(hold=False, held=True)).tick(after=60)
    assert life.job.state == Waiting(60.0, "interval")
    assert life.apply(Conditions(hold=False, held=False)).spawns == [1]


def test_a_restart_limit_counts_starts_within_its_time_only() -> None:
    """[S35]"""
    life = running(keep_alive=True, throttle_s=0.0, restart_limit=RestartLimit(count=2, within_s=60.0))
    for _ in range(5):
        life.exited(FAILED, after=31).spawned()
    assert life.exited(FAILED, after=1).kinds == ["exited", "failed"]
    assert life.job.state == Finished(failed=True)


def test_a_failed_job_begins_anew_where_somebody_starts_it() -> None:
    """[S35]"""
    life = running(keep_alive=True, throttle_s=0.0, restart_limit=RestartLimit(count=1, within_s=60.0))
    assert life.exited(FAILED).spawned().exited(FAILED).word == "finished"
    assert life.restart().spawned().exited(FAILED).word == "starting"


@pytest.mark.parametrize("factor", [1.0, 2.0, 100.0])
def test_the_delay_grows_up_to_its_bound_and_is_spread(factor: float) -> None:
    """[S35]"""
    spacing = Spacing(initial_s=1.0, max_s=8.0, factor=factor, jitter=0.25)
    life = running(keep_alive=True, throttle_s=0.0, backoff=spacing)
    for nth in range(12):
        life.exited(FAILED)
        assert isinstance(life.job.state, Backoff)
        due = min(factor**nth, 8.0)
        assert due * 0.75 <= life.job.state.retry_at - life.now <= due * 1.25
        life.tick(after=life.job.state.retry_at - life.now).spawned()


def test_a_long_run_ends_the_row_of_short_ones() -> None:
    """[S35]"""
    life = running(keep_alive=True, throttle_s=0.0, backoff=Spacing(max_s=8.0)).exited(FAILED)
    assert life.job.streak == 1
    assert life.tick(after=10).spawned().exited(FAILED, after=8).spawns == [3]
    assert life.job.streak == 0


def test_the_throttle_stands_beside_the_delay() -> None:
    """[S35] [S8]"""
    life = running(keep_alive=True, backoff=Spacing(initial_s=1.0, jitter=0.0)).exited(FAILED)
    assert life.job.state == Backoff(10.0, "keep-alive")


def test_a_job_that_was_launched_only_once_waits_for_nothing() -> None:
    """[S33]"""
    life = running(launch_only_once=True, run_at_load=True, start_interval_s=60.0).exited(OK)
    assert life.job.state == Finished()


def test_a_start_that_failed_for_its_interval_is_tried_at_the_next_one() -> None:
    """[S29]"""
    life = waiting().tick(after=60).failed()
    assert life.job.state == Waiting(61.0 - 1.0, due_at=120.0)


def test_a_failed_start_is_no_success() -> None:
    """[S33]"""
    life = finished(keep_alive_when=KeepAlive(successful_exit=False)).restart().failed()
    assert life.job.state == Backoff(10.0, "unsuccessful-exit")


def test_becoming_ready_is_told_once() -> None:
    """[S36]"""
    life = running(ready=Ready(notify=True))
    assert life.deadline is None
    assert life.ready(after=3).record == {"pid": 5, "after_s": 3.0}
    assert life.ready().kinds == []


def test_what_ends_before_it_was_ready_is_not_told_of_as_late() -> None:
    """[S36]"""
    life = running(ready=Ready(notify=True, timeout_s=5.0))
    assert life.deadline == 5.0
    assert life.exited(OK).tick(after=5).kinds == []


def test_a_boot_starts_what_a_shutdown_had_ended() -> None:
    """[S37]"""
    life = finished(run_at_load=True)
    assert life.booted().spawns == [2]
    assert running().shutdown().exited().booted().spawns == []
    assert finished(start_interval_s=60.0, run_at_load=True).stop().booted().spawns == []


def test_what_went_down_with_its_host_is_started_if_it_is_kept_and_waits_if_it_waits() -> None:
    """[S37] How it ended tells nothing then."""
    down = Exited(5, None, 0.0, None, leftover=False, rebooted=True)
    assert running(keep_alive_when=KeepAlive(crashed=True)).apply(down).job.state == Backoff(10.0, "boot")
    assert running(start_interval_s=60.0, run_at_load=True).apply(down).job.state == Backoff(10.0, "boot")
    assert isinstance(waiting().restart().spawned().apply(down).job.state, Waiting)
    assert running().apply(down).job.state == Finished()
