"""How jobs that wait, are ready or were given up look to people."""

import json
import time

from tests.system.evidence import jobs
from tests.system.launcher_host import Host, wait_for
from tests.system.peer import Peer

from relaunch.cli.render import jobs_table


def test_status_says_what_a_job_waits_for_and_why_it_has_failed(host: Host) -> None:
    """[W13] [S34] [S35] In one sentence; `list` has the word."""
    limit = {"count": 0, "within_s": 60.0}
    with Peer(host.socket) as peer:
        peer.submit("clock", "true", start_interval_s=3600.0, run_at_load=True)
        peer.submit("web", depends_on=["db", "clock"])
        peer.submit("flaps", "sh", "-c", "exit 3", keep_alive=True, restart_limit=limit)
    wait_for(lambda: jobs(host)["clock"]["state"] == "waiting", what="its run has ended")
    wait_for(lambda: jobs(host)["flaps"]["state"] == "failed", what="it is given up")
    said = {label: host.launch("status", label).stdout for label in ("clock", "web", "flaps")}
    assert "waiting for what starts it, last code 0\n" in said["clock"]
    assert "waiting for db clock\n" in said["web"]
    assert "failed, code 3, and was started again too often\n" in said["flaps"]
    words = {line.split()[0]: line.split()[1] for line in host.launch("list").stdout.splitlines()[1:]}
    assert words == {"clock": "waiting", "web": "waiting", "flaps": "failed"}
    assert json.loads(host.launch("list", "--json", "web").stdout)[0]["waits_for"] == ["db", "clock"]
    shown = host.launch("events").stdout
    assert "job.failed  flaps  started again 0 times within 1m0s" in shown
    assert "for db clock" in shown


def test_a_job_that_is_stopped_when_nothing_of_it_runs_shows_it(host: Host) -> None:
    """[W13] [S35] No more than that one has ended is said of one that had, whatever stops it then."""
    with Peer(host.socket) as peer:
        peer.submit("clock", "true", start_interval_s=3600.0)
        peer.submit("flaps", "sh", "-c", "exit 7", keep_alive=True, throttle_s=600.0)
    wait_for(lambda: jobs(host)["flaps"]["state"] == "backoff", what="it has ended")
    stopped = "stopped (its next start is cancelled)\n"
    assert host.launch("stop", "clock", "flaps").stdout == f"clock: {stopped}flaps: {stopped}"
    assert host.launch("kill", "flaps").stdout == "flaps: had finished before (code 7)\n"
    rows = {line.split()[0]: line for line in host.launch("list").stdout.splitlines()[1:]}
    assert "code 7, stopped" in rows["flaps"]
    assert rows["clock"].split()[:6] == ["clock", "exited", "-", "-", "0", "stopped"]
    assert "exited, code 7, stopped\n" in host.launch("status", "flaps").stdout
    host.launch("restart", "flaps")
    wait_for(lambda: jobs(host)["flaps"]["state"] == "backoff", what="it has ended again")
    assert "stopped" not in host.launch("list", "flaps").stdout


def test_status_says_when_a_job_starts_next_where_that_is_known(host: Host) -> None:
    """[W13] [S29] [S35] By its interval, its calendar, its delay; not where it waits for something else. `list` too."""
    now, noon = time.time(), [{"hour": 12, "minute": 0}]
    with Peer(host.socket) as peer:
        peer.submit("interval", "true", start_interval_s=3600.0)
        peer.submit("calendar", "true", start_calendar=noon)
        peer.submit("both", "true", start_interval_s=60.0, start_calendar=[{"month": 2, "day": 30}])
        peer.submit("flaps", "false", keep_alive=True, throttle_s=600.0)
        peer.submit("path", "true", watch_paths=["/a"])
        peer.submit("web", depends_on=["db"], start_interval_s=60.0, run_at_load=True)
    wait_for(lambda: jobs(host)["flaps"]["state"] == "backoff", what="it has ended")
    at = {label: job["next_start_at"] for label, job in jobs(host).items()}
    assert now + 3600 <= at["interval"] <= time.time() + 3600
    assert time.strftime("%H:%M:%S", time.localtime(at["calendar"])) == "12:00:00"
    assert 0 < at["calendar"] - now < 26 * 3600
    assert now + 60 <= at["both"] <= time.time() + 60
    assert now + 590 < at["flaps"] <= time.time() + 600
    rows = {line.split()[0]: line for line in host.launch("list").stdout.splitlines()[1:]}
    assert "  waiting  -    in 59m" in rows["interval"] or "  waiting  -    in 1h0m" in rows["interval"]
    assert "  backoff  -    in 9m" in rows["flaps"] or "  backoff  -    in 10m0s" in rows["flaps"]
    assert "  waiting  -    -" in rows["path"]
    assert (at["path"], at["web"]) == (None, None)
    shown = host.launch("status", "interval").stdout
    assert f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at['interval']))}, in 59m" in shown


def test_when_a_job_starts_again_does_not_depend_on_the_clock_here() -> None:
    """[W13] Where another host's is an hour ahead, what is left is what that host says."""
    job = {"label": "a", "state": "backoff", "restarts": 1, "argv": ["a"], "retry_in_s": 9.5}
    table = jobs_table([job | {"next_start_at": time.time() + 3609.5}], terminal=False)
    assert table.splitlines()[1].split()[:5] == ["a", "backoff", "-", "in", "9s"]


def test_status_has_the_words_of_job_files(host: Host) -> None:
    """[W13] [F3]"""
    with Peer(host.socket) as peer:
        peer.submit(
            "a",
            "true",
            start_calendar=[{"minute": 1, "hour": 2}, {"minute": 3}],
            keep_alive_when={"crashed": True, "paths": {"/a b": False}},
            watch_paths=["/a b", "/c"],
            limits={"nofile": "64:128"},
            umask=0o27,
        )
    lines = {tuple(line.split(None, 1)) for line in host.launch("status", "a").stdout.splitlines()}
    assert lines >= {
        ("StartCalendarInterval", "Minute 1, Hour 2; Minute 3"),
        ("KeepAlive", "Crashed yes, PathState /a b no"),
        ("WatchPaths", "'/a b' /c"),
        ("SoftResourceLimits", "NumberOfFiles 64"),
        ("Umask", "027"),
    }
