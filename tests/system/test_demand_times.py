"""Jobs that times start: of the calendar, missed or not, and every so often."""

import json
import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest
from tests.system.evidence import events, jobs, kill, kill_launcher
from tests.system.launcher_host import Host, alive, wait_for
from tests.system.peer import Peer

from relaunch.launcher.journal_file import put_document

HOUR_S = 3600


def causes(host: Host, label: str) -> list[str]:
    return [event["data"]["cause"] for event in events(host, label) if event["type"] == "io.relaunch.job.starting"]


def at(when: float) -> dict[str, int]:
    """The calendar's entry for a wall time, on the clock of the launcher's zone, which is this process's."""
    local = time.localtime(when)
    return {"minute": local.tm_min, "hour": local.tm_hour, "day": local.tm_mday, "month": local.tm_mon}


def away(host: Host, label: str, **changes: Any) -> None:
    """Have a job's document say something else while nobody serves, and let the next launcher find it."""
    launcher = host.launcher_pid
    kill(host.keeper_pid)
    wait_for(lambda: not alive(launcher), what="the launcher has followed its keeper")
    with closing(sqlite3.connect(host.state / "journal.db")) as journal, journal:
        for job_id, text in journal.execute("SELECT id, document FROM documents").fetchall():
            document = json.loads(text)
            if document.get("spec", {}).get("label") == label:
                put_document(journal, job_id, json.dumps(document | changes))
    host.serve()


def test_a_time_of_the_calendar_that_was_missed_starts_the_job_once(host: Host) -> None:
    """[S29] Two of them passed while nobody served; none does for the one whose times have not come."""
    now = time.time()
    calendar = [at(now - 2 * HOUR_S), at(now - HOUR_S)]
    with Peer(host.socket) as peer:
        assert peer.submit("a", "true", start_calendar=calendar, throttle_s=0.0)["state"] == "waiting"
        assert peer.submit("b", "true", start_calendar=[at(now + 12 * HOUR_S)], throttle_s=0.0)["state"] == "waiting"
        assert peer.submit("c", "true", start_calendar=[{"day": 30, "month": 2}], throttle_s=0.0)["state"] == "waiting"
    away(host, "a", calendar_from=now - 3 * HOUR_S)
    wait_for(lambda: (jobs(host)["a"]["run"], jobs(host)["a"]["state"]) == (1, "waiting"), what="it is made up for")
    kill_launcher(host)
    assert [jobs(host)[label]["run"] for label in "abc"] == [1, 0, 0]
    assert causes(host, "a") == ["calendar"]


def test_a_time_that_comes_during_a_run_passes(host: Host) -> None:
    """[S29] And one that was missed by a stopped job is not made up for when it is started again."""
    now = time.time()
    with Peer(host.socket) as peer:
        peer.submit("a", start_calendar=[at(now - HOUR_S)], run_at_load=True, throttle_s=0.0)
        peer.submit("b", "true", start_calendar=[at(now - HOUR_S)], throttle_s=0.0)
        peer.call("Stop", {"patterns": ["b"]})
    running = jobs(host)["a"]["pid"]
    away(host, "a", calendar_from=now - 2 * HOUR_S)
    kill(running)
    wait_for(lambda: jobs(host)["a"]["state"] == "waiting", what="its run has ended")
    away(host, "b", calendar_from=now - 2 * HOUR_S)
    with Peer(host.socket) as peer:
        peer.call("Restart", {"patterns": ["b"]})
    wait_for(lambda: jobs(host)["b"]["state"] == "waiting", what="its run has ended")
    kill_launcher(host)
    assert (jobs(host)["a"]["run"], jobs(host)["b"]["run"]) == (1, 1)
    assert (causes(host, "a"), causes(host, "b")) == ([], ["restart"])


def test_the_zone_is_that_of_the_launcher(place: Host) -> None:
    """[S40] An hour of the calendar is one of the clocks there."""
    elsewhere = "Pacific/Kiritimati"  # 14 hours ahead
    place.env["TZ"] = elsewhere
    place.serve()
    now = time.time()
    there = time.gmtime(now + 13 * HOUR_S)
    entry = {"minute": there.tm_min, "hour": there.tm_hour, "day": there.tm_mday, "month": there.tm_mon}
    with Peer(place.socket) as peer:
        peer.submit("a", "true", start_calendar=[entry], throttle_s=0.0)
    away(place, "a", calendar_from=now - 2 * HOUR_S)
    wait_for(lambda: jobs(place)["a"]["run"] == 1, what="the time that was an hour ago there is made up for")


def test_an_interval_starts_the_job_every_so_often(host: Host) -> None:
    """[S29] [S21] Also after the launcher's death."""
    with Peer(host.socket) as peer:
        assert peer.submit("a", "true", start_interval_s=0.5, throttle_s=0.0)["state"] == "waiting"
    wait_for(lambda: jobs(host)["a"]["run"] >= 2, what="it has been started twice")
    kill_launcher(host)
    run = jobs(host)["a"]["run"]
    wait_for(lambda: jobs(host)["a"]["run"] > run, what="it goes on")
    assert set(causes(host, "a")) == {"interval"}


@pytest.mark.parametrize("fields", [{"start_interval_s": 3600.0}, {"start_calendar": [{"day": 30, "month": 2}]}])
def test_run_at_load_starts_what_would_wait(host: Host, fields: dict[str, Any]) -> None:
    """[S28] At once, though something else would start it."""
    with Peer(host.socket) as peer:
        assert peer.submit("a", **fields)["state"] == "waiting"
        assert peer.submit("b", run_at_load=True, **fields)["state"] == "running"
