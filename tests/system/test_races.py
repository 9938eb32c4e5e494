"""Requests that meet: for one label, in one turn of the launcher's loop."""

from tests.system.evidence import check_history, check_processes, events, jobs, jobs_processes
from tests.system.launcher_host import Host, wait_for
from tests.system.peer import Peer, encode, spec_of

ROUNDS = 20


def test_a_restart_that_meets_a_submit_of_the_same_label(host: Host) -> None:
    """[S3] [S9] [S21] Whichever comes first has the label; nothing runs that no job stands for."""
    with Peer(host.socket) as peer:
        for _ in range(ROUNDS):
            peer.submit("a", "true")
            peer.call("Wait", {"patterns": ["a"]})
            calls = [encode("Restart", {"patterns": ["a"]}), encode("Submit", {"spec": spec_of("a")})]
            peer.socket.sendall(b"".join(calls))
            (outcome,) = peer.answer()["outcomes"]
            submitted = peer.reply()
            refusals = {outcome["error"], submitted.get("error")} - {None}
            assert refusals <= {"io.relaunch.Launcher.LabelInUse"}
            check_processes(host)
            assert jobs(host)["a"]["state"] == "running" or "error" in submitted
            peer.call("Stop", {"patterns": ["a"]})
            assert not jobs_processes(host)
    check_history(events(host))


def test_a_restart_whose_new_run_is_stopped_at_once_has_been_done(host: Host) -> None:
    """[S9] [S6] What is said to have survived a KILL has survived one."""
    with Peer(host.socket) as peer, Peer(host.socket) as other:
        for _ in range(ROUNDS):
            peer.submit("a")
            peer.send("Restart", {"patterns": ["a"]})
            wait_for(lambda: jobs(host)["a"]["run"] == 2, what="the next run is decided")
            assert other.call("Stop", {"patterns": ["a"]})["outcomes"][0]["error"] is None
            (outcome,) = peer.answer()["outcomes"]
            assert (outcome["error"], outcome["message"]) == (None, None)
    check_history(events(host))
