"""``launch subscribe`` over the launcher's socket: what it tells and outlives, how it ends, where it goes on."""

import fcntl
import json
import os
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest
from tests.system.launcher_host import COMMAND_S, DEADLINE_S, LAUNCH, Host, wait_for
from tests.system.subscribing import HOST, Subscribing, ends, subscribing


@pytest.fixture
def host(shared: Host) -> Host:
    """Shared by all tests here, each with labels of its own."""
    return shared


def test_each_failure_is_one_line(host: Host) -> None:
    """[D29] [D30]"""
    with subscribing(host) as told:
        ends(host, "p1")
        assert told.line().startswith(f"{HOST}  p1 exited, code 3, pid ")
        host.launch("submit", "-l", "o/1", "--keep-alive", "-p", "sleep", "120")
        pid = host.job("o/1")["pid"]
        os.kill(pid, signal.SIGKILL)
        assert told.line() == f"{HOST}  o/1 crashed, signal KILL, pid {pid}, starts again in 9s"
        host.launch("submit", "-l", "bad", "-p", "/no\x1b[31m\nwhere", check=False)
        failed = told.line()
        assert failed.startswith(f"{HOST}  bad could not be started, program ")
        assert "\\x1b[31m\\nwhere" in failed
        assert told.end() == ("", "")


def test_a_filter_chooses_labels_and_kinds_choose_kinds(host: Host) -> None:
    """[D29] Events without a label pass each filter."""
    with subscribing(
        host, "--json", "-f", "o*", "-f", "q", "--kind", "job.ex*", "--kind", "launcher.restarted"
    ) as told:
        for label in ("p1", "o1", "q1", "q"):
            ends(host, label)
        os.kill(host.launcher_pid, signal.SIGKILL)
        events = [told.event() for _ in range(3)]
        assert [(event["type"], event.get("subject")) for event in events] == [
            ("io.relaunch.job.exited", "o1"),
            ("io.relaunch.job.exited", "q"),
            ("io.relaunch.launcher.restarted", None),
        ]
        told.end(signal.SIGTERM)


def test_json_is_what_the_journal_holds(fresh: Host) -> None:
    """[D30] [J6]"""
    ends(fresh, "p1")
    told = fresh.launch("subscribe", "--json", "--kind", "all", "--since", "0", "-n", "4").stdout
    assert [json.loads(line) for line in told.splitlines()] == fresh.events()[:4]


def test_it_ends_after_so_many_or_so_long(fresh: Host) -> None:
    """[D31]"""
    ends(fresh, "p1")
    enough = fresh.launch("subscribe", "--since", "0", "-n", "2", "--timeout", "20")
    assert [line.split("  ")[2].split(",")[0] for line in enough.stdout.splitlines()] == [
        "launcher started",
        "p1 exited",
    ]
    assert fresh.launch("subscribe", "--since", "0", "--timeout", "0.3").stdout == enough.stdout
    too_few = fresh.launch("subscribe", "--since", "0", "--count", "3", "--timeout", "0.3", check=False)
    assert (too_few.returncode, too_few.stdout) == (1, enough.stdout)


def test_nothing_is_left_out_or_told_twice_over_deaths_and_replacements(host: Host) -> None:
    """[D29]"""
    with subscribing(host, "--json", "--kind", "job.exited", "--kind", "launcher.*") as told:
        for number in range(3):
            ends(host, f"before{number}")
            os.kill(host.launcher_pid, signal.SIGKILL)
            ends(host, f"after{number}")
            host.launch("serve", "--replace")
        seen = [(event["type"], event.get("subject")) for event in (told.event() for _ in range(12))]
        restarted = ("io.relaunch.launcher.restarted", None)
        assert seen == [
            event
            for number in range(3)
            for event in (
                ("io.relaunch.job.exited", f"before{number}"),
                restarted,
                ("io.relaunch.job.exited", f"after{number}"),
                restarted,
            )
        ]
        told.end()


@pytest.mark.parametrize("how", ["shutdown", "the keeper dies"])
def test_a_launcher_that_ends_is_lost_and_the_next_one_followed(host: Host, how: str) -> None:
    """[D29] That nobody listens on its socket any more is certain."""
    with subscribing(host, "--json") as told:
        if how == "shutdown":
            host.launch("shutdown")
        else:
            os.kill(host.keeper_pid, signal.SIGKILL)
        lost = told.event()
        assert (lost["type"], lost["data"]["certain"]) == ("io.relaunch.launcher.lost", True)
        host.serve()
        assert told.event()["type"] == "io.relaunch.launcher.started"
        ends(host, "p1")
        assert told.event()["subject"] == "p1"
        assert told.end()[0] == ""


def test_another_journal_is_told_as_a_reset_and_read_from_its_beginning(host: Host) -> None:
    """[D29] [D6]"""
    with subscribing(host, "--json", "--kind", "launcher.*") as told:
        host.launch("shutdown")
        (host.state / "journal.db").unlink()
        host.serve()
        assert told.kinds(4) == ["launcher.stopped", "launcher.lost", "stream.reset", "launcher.started"]
        told.end()


@pytest.mark.parametrize("part", ["*", "-wal"])
def test_a_journal_that_is_lost_while_it_is_followed_is_told_as_a_reset(host: Host, part: str) -> None:
    """[D29] [D6]"""
    with subscribing(host, "--json", "--kind", "job.exited") as told:
        for path in host.state.glob(f"journal.db{part}"):
            path.unlink()
        ends(host, "p1")  # what was written before anybody has looked is in the files that are gone
        while told.kinds(1) != ["stream.reset"]:
            pass
        ends(host, "p2")
        while told.event()["subject"] != "p2":
            pass
        told.end()


def test_what_was_compacted_away_is_told_as_a_gap(host: Host) -> None:
    """[D29] [D5]"""
    host.launch("shutdown")
    with sqlite3.connect(host.state / "journal.db") as journal:
        (last,) = journal.execute("SELECT max(sequence) FROM events").fetchone()
        journal.execute("DELETE FROM events WHERE sequence < ?", (last,))
    journal.close()
    host.serve()
    told = host.launch("subscribe", "--json", "--since", "0", "--kind", "launcher.*", "-n", "2").stdout
    gap, first = (json.loads(line) for line in told.splitlines())
    assert (gap["type"], gap["data"]) == ("io.relaunch.stream.gap", {"label": None, "first": 1, "last": last - 1})
    assert first["type"] == "io.relaunch.launcher.stopped"


def test_a_command_is_run_for_each_event_until_it_exits_with_0(host: Host, tmp_path: Path) -> None:
    """[D32]"""
    command = (
        f"cd {tmp_path}; cat >> events; "
        'echo "$LAUNCH_EVENT_KIND $LAUNCH_EVENT_LABEL $LAUNCH_EVENT_REASON $LAUNCH_EVENT_CODE" >> tries; '
        '[ "$LAUNCH_EVENT_LABEL" != p1 ] || [ "$(grep -c " p1 " tries)" = 3 ]'
    )
    with subscribing(host, "--exec", command, "-n", "2") as told:
        ends(host, "p1")
        ends(host, "p2", 4)
        for again_s in (1, 2):
            assert told.said() == (
                f"launch: --exec for job.exited p1: it exited with 1; it is run again in {again_s} s\n"
            )
        assert told.process.wait(DEADLINE_S) == 0
        assert (tmp_path / "tries").read_text().splitlines() == [
            *["job.exited p1 exited 3"] * 3,
            "job.exited p2 exited 4",
        ]
        events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
        assert [event["subject"] for event in events] == ["p1", "p1", "p1", "p2"]
        assert len({event["id"] for event in events}) == 2
        assert [told.line().split(",")[0] for _ in range(2)] == [f"{HOST}  p1 exited", f"{HOST}  p2 exited"]


def test_a_command_that_is_not_there_is_tried_again_and_one_that_reads_nothing_is_fine(host: Host) -> None:
    """[D32]"""
    with subscribing(host, "--exec", "/nowhere/pager") as told:
        ends(host, "p1")
        said = told.said()
        while said.startswith(("sh: ", "/bin/sh: ")):
            said = told.said()
        assert said == "launch: --exec for job.exited p1: it exited with 127; it is run again in 1 s\n"
        told.end()
    assert host.launch("subscribe", "--since", "0", "-n", "1", "--exec", "exec <&-; true").returncode == 0


def test_a_command_that_runs_may_finish_at_the_end_and_counts(fresh: Host, tmp_path: Path) -> None:
    """[D31] [D32] [D33]"""
    command = f"cd {tmp_path}; touch begun; while [ ! -e go ]; do sleep 0.01; done; touch done"
    with subscribing(fresh, "--name", "pager", "--exec", command) as told:
        ends(fresh, "p1")
        ends(fresh, "p2")
        fresh.wait_for((tmp_path / "begun").exists)
        told.process.send_signal(signal.SIGTERM)
        (tmp_path / "go").touch()
        assert told.process.wait(DEADLINE_S) == 0
    assert (tmp_path / "done").exists()
    with subscribing(fresh, "--name", "pager") as told:
        assert told.line().startswith(f"{HOST}  p2 exited")
        told.end()


def test_a_name_goes_on_where_it_ended_however_that_was(fresh: Host) -> None:
    """[D33] [D3] [D4]"""
    with subscribing(fresh, "--name", "pager") as told:
        ends(fresh, "p1")
        assert told.line().startswith(f"{HOST}  p1 exited")
        told.end()
    ends(fresh, "p2")
    with subscribing(fresh, "--name", "pager", "--exec", "kill -KILL $PPID") as told:
        assert told.line().startswith(f"{HOST}  p2 exited")
        assert told.process.wait(DEADLINE_S) == -signal.SIGKILL
    ends(fresh, "p3")
    with subscribing(fresh, "--name", "pager", "--json", "--since", "0") as told:
        events = [told.event() for _ in range(2)]
        assert [(event["subject"], event.get("redelivered")) for event in events] == [("p2", True), ("p3", None)]
        told.end()


def test_a_name_is_one_processes_at_a_time(fresh: Host) -> None:
    """[D33]"""
    with subscribing(fresh, "--name", "pager") as told:
        second = fresh.launch("subscribe", "--name", "pager", check=False)
        assert second.returncode == 1
        assert second.stderr == (
            "launch: name 'pager' is in use by another process; end that one, or take another name\n"
        )
        told.end()


def test_a_file_of_a_name_that_cannot_be_read_is_said_and_kept(fresh: Host) -> None:
    """[D33]"""
    with subscribing(fresh, "--name", "pager") as told:
        told.end()
    (path,) = (fresh.state / "subscribers").glob("*")
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("no place\n")
    refused = fresh.launch("subscribe", "--name", "pager", check=False)
    assert refused.returncode == 1
    assert str(path) in refused.stderr
    assert path.read_text() == "no place\n"


@pytest.mark.parametrize(
    ("typed", "part"),
    [
        (["-f", "o["], "'o[' opens a set"),
        (["--kind", "job.gone"], "no kind of event matches 'job.gone'; there are job.submitted, "),
        (["--kind", "job["], "'job[' opens a set"),
        (["-n", "udp"], "'udp' is neither a number of events nor a transport"),
        (["--transport", "udp"], "'udp' is no transport; there are quic and tcp"),
        (["-n", "0"], "0 is none at all"),
        (["-n", "1", "--count", "2"], "count is said to be 2 and 1"),
        (["--timeout", "0"], "0 seconds is no time at all"),
        (["--since", "yesterday"], "subscribe: --since 'yesterday' is no sequence number"),
        (["--suspect-after", "0.1"], "'0.1' is not from 0.2 to 3600 seconds"),
        (["--name", "a/b"], "name 'a/b' must be 1 to 100 letters"),
        (["--exec"], "--exec: expected one argument"),
        (["-a", ":9001"], "--address means nothing without --serve"),
        (["-n", "tcp"], "--transport means nothing without --serve"),
        (["--suspect-after", "1"], "--suspect-after means nothing without --serve"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(host: Host, typed: list[str], part: str) -> None:
    """[D34] [W5] [W6]"""
    refused = host.launch("subscribe", *typed, check=False)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert part in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_without_a_launcher_there_is_nothing_to_follow(place: Host) -> None:
    """[D34] [W6]"""
    for options in ([], ["--name", "pager"]):
        refused = place.launch("subscribe", *options, check=False)
        assert refused.returncode == 3
        assert "launch serve" in refused.stderr


def test_a_launcher_that_does_not_answer_is_given_up_in_time(host: Host) -> None:
    """[D31] [W6]"""
    pid = host.launcher_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        given_up = host.launch("subscribe", "--timeout", "0.3", check=False)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (given_up.returncode, given_up.stderr) == (3, "launch: the launcher has not answered within 0.3 s\n")


@pytest.mark.parametrize("options", [(), ("--serve", "-a", "127.0.0.1:0")])
def test_a_reader_that_goes_away_ends_it_silently_though_nothing_happens(host: Host, options: tuple[str, ...]) -> None:
    """[D31]"""
    with subscribing(host, *options) as told:
        assert told.process.stdout is not None
        told.process.stdout.close()
        assert told.process.wait(DEADLINE_S) == -signal.SIGPIPE
        assert told.said() == ""
    assert not host.status()["subscribers"]


@pytest.mark.parametrize("stream", ["0", "1", "2"])
def test_a_closed_stream_is_no_socket(host: Host, stream: str) -> None:
    ends(host, "p1")
    command = f'"$0" subscribe --since 0 -n 2 {stream}>&-'
    done = subprocess.run(
        ["sh", "-c", command, LAUNCH], env=host.env, capture_output=True, text=True, timeout=COMMAND_S, check=False
    )
    if stream == "1":
        assert (done.returncode, done.stderr) == (1, "launch: standard output cannot be written: Bad file descriptor\n")
    else:
        assert (done.returncode, done.stdout.count("\n")) == (0, 2)


def test_a_halted_reader_is_waited_for_and_can_still_be_ended(host: Host) -> None:
    """[D31]"""
    with subscribing(host, "--json") as told:
        assert told.process.stdout is not None
        fcntl.fcntl(told.process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        ends(host, "p1")
        wait_for(lambda: _readable_bytes(told), what="a pipe that is full")
        ends(host, "p2")
        told.process.send_signal(signal.SIGTERM)
        assert told.process.wait(DEADLINE_S) == 0


def _readable_bytes(told: Subscribing) -> int:
    import array
    import termios

    count = array.array("i", [0])
    assert told.process.stdout is not None
    fcntl.ioctl(told.process.stdout, termios.FIONREAD, count)
    return count[0]
