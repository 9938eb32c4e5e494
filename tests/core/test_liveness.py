"""What a subscriber believes of the hosts it hears."""

import pytest

from relaunch.core import liveness as core
from relaunch.core.liveness import Ended, Gone, Heard, Lost, Met, Peer, Report, Run, Suspect, Terms, Up, Watch

RUN = Run("boot", 1)
NEXT_RUN = Run("boot", 2)
NEXT_BOOT = Run("another boot", 3)


class Observer:
    """A subscriber's view, looked at whenever it is due."""

    def __init__(self, *names: str, terms: Terms | None = None) -> None:
        self.now = 0.0
        self.watch = Watch(terms or Terms(), 0.0)
        self.peers = {name: core.meet(name, RUN, now=0.0) for name in names}
        self.reports: list[tuple[float, Report]] = []

    def wait(self, until: float) -> "Observer":
        while (at := core.deadline(self.watch, self.peers)) is not None and at <= until:
            self.look(at)
        self.now = until
        return self

    def look(self, at: float) -> "Observer":
        assert at > self.watch.looked_at
        self.now = at
        self.watch, changed, reports = core.review(self.watch, self.peers, at)
        self.peers |= changed
        self.reports += [(at, report) for report in reports]
        return self

    def tell(self, name: str, event: core.Event) -> tuple[Report, ...]:
        self.peers[name], reports = core.transition(self.peers[name], event, self.now)
        return reports

    @property
    def kinds(self) -> list[str]:
        return [report.kind for _, report in self.reports]


def kinds(reports: tuple[Report, ...]) -> list[str]:
    return [report.kind for report in reports]


@pytest.mark.parametrize("suspect_after_s", [3.0, 0.2])
def test_a_host_that_vanishes_is_suspected_in_time_and_lost_later(suspect_after_s: float) -> None:
    """[D10] [D11] And neither is said for certain."""
    observer = Observer("a", terms=Terms(suspect_after_s, 3 * suspect_after_s)).wait(10.0)
    assert observer.kinds == ["host.suspect", "host.lost"]
    (first, suspect), (second, lost) = observer.reports
    assert first == pytest.approx(suspect_after_s)
    assert second == pytest.approx(3 * suspect_after_s)
    assert (suspect.certain, lost.certain) == (False, False)
    assert suspect.silent_s == {"a": pytest.approx(suspect_after_s)}
    assert isinstance(observer.peers["a"].state, Lost)


def test_who_beats_is_not_suspected() -> None:
    """[D10]"""
    observer = Observer("a")
    for beat in range(1, 40):
        observer.wait(beat * observer.watch.terms.beat_s)
        assert observer.tell("a", Heard(RUN)) == ()
    assert observer.kinds == []


def test_those_that_vanish_together_are_told_together() -> None:
    """[D10] Twenty records in one value."""
    names = [f"n{number:02}" for number in range(20)]
    observer = Observer("still", *names)
    for number, name in enumerate(
        names
    ):  # their last heartbeats lie up to a beat apart, and a busy host is later still
        observer.wait(number * 0.045)
        observer.tell(name, Heard(RUN))
    for beat in range(1, 25):
        observer.wait(beat * 0.5)
        observer.tell("still", Heard(RUN))
    assert observer.kinds == ["host.suspect", "host.lost"]
    assert [set(report.silent_s) for _, report in observer.reports] == [set(names)] * 2


def test_who_falls_silent_later_is_told_later() -> None:
    """[D10]"""
    observer = Observer("a", "b").wait(2.0)
    observer.tell("b", Heard(RUN))
    observer.wait(8.0)
    assert [set(report.silent_s) for _, report in observer.reports] == [{"a"}, {"b"}]


def test_a_subscriber_that_was_late_withdraws_its_suspicions_and_accuses_nobody() -> None:
    """[D12] Who has been lost for long stays so."""
    observer = Observer("suspected", "up", "lost", "ended")
    observer.peers["lost"] = Peer("lost", RUN, Lost(0.0))
    observer.peers["ended"] = Peer("ended", RUN, Ended(0.0))
    observer.wait(2.5)
    observer.tell("up", Heard(RUN))
    observer.wait(3.5)
    assert observer.kinds == ["host.suspect"]
    observer.look(13.0)
    assert observer.kinds == ["host.suspect", "host.withdrawn"]
    _, withdrawn = observer.reports[-1]
    assert withdrawn.silent_s == {"suspected": 13.0}
    assert [peer.state for peer in observer.peers.values()] == [Up(13.0), Up(13.0), Lost(0.0), Ended(0.0)]
    observer.look(23.0)
    assert observer.kinds == ["host.suspect", "host.withdrawn"]
    observer.wait(27.0)
    assert set(observer.reports[-1][1].silent_s) == {"suspected", "up"}


def test_a_look_that_is_a_little_late_accuses_nobody_before_the_next() -> None:
    """[D12] What has come meanwhile may lie unread."""
    observer = Observer("a").wait(2.5)
    observer.look(3.3)
    assert observer.kinds == []
    observer.wait(3.5)
    assert observer.kinds == ["host.suspect"]


@pytest.mark.parametrize("state", [Suspect(0.0), Lost(0.0)])
@pytest.mark.parametrize("event", [Heard(RUN), Met(RUN)])
def test_who_is_heard_again_is_back(state: core.State, event: core.Event) -> None:
    """[D11]"""
    observer = Observer("a")
    observer.peers["a"] = Peer("a", RUN, state)
    assert kinds(observer.tell("a", event)) == ["host.back"]
    assert observer.peers["a"].state == Up(0.0)


def test_a_launcher_has_ended_when_somebody_who_knows_says_so() -> None:
    """[D11] Once; and its silence from then on accuses nobody."""
    observer = Observer("a")
    (report,) = observer.tell("a", Gone(RUN))
    assert (report.kind, report.certain, report.silent_s) == ("launcher.lost", True, {"a": 0.0})
    assert observer.tell("a", Gone(RUN)) == ()
    assert observer.tell("a", Heard(RUN)) == ()
    assert observer.wait(20.0).kinds == []
    assert core.deadline(observer.watch, observer.peers) is None


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (Up(0.0), ["launcher.restarted"]),
        (Ended(0.0), ["launcher.restarted"]),
        (Suspect(0.0), ["host.back", "launcher.restarted"]),
        (Lost(0.0), ["host.back", "launcher.restarted"]),
    ],
)
def test_a_later_run_says_that_the_launcher_was_restarted(state: core.State, told: list[str]) -> None:
    """[D11]"""
    observer = Observer("a")
    observer.peers["a"] = Peer("a", RUN, state)
    assert kinds(observer.tell("a", Met(NEXT_RUN))) == told
    assert observer.peers["a"] == Peer("a", NEXT_RUN, Up(0.0))


def test_another_boot_id_says_for_certain_that_the_host_was_rebooted() -> None:
    """[D11]"""
    observer = Observer("a")
    (report,) = observer.tell("a", Met(NEXT_BOOT))
    assert (report.kind, report.certain) == ("host.rebooted", True)


@pytest.mark.parametrize("event", [Met(RUN), Heard(RUN), Gone(RUN)])
@pytest.mark.parametrize("run", [NEXT_RUN, NEXT_BOOT])
def test_what_is_late_of_an_earlier_run_changes_nothing(event: core.Event, run: Run) -> None:
    """[D11]"""
    observer = Observer("a")
    observer.tell("a", Met(run))
    before = observer.peers["a"]
    assert observer.tell("a", event) == ()
    assert observer.peers["a"] == before


def test_nobody_to_watch_needs_no_clock() -> None:
    """[D12]"""
    assert core.deadline(Watch(Terms(), 0.0), {}) is None
