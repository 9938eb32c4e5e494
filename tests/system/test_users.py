"""Jobs of other users under root's launcher: who they are, what they find, and that they are kept as all others are."""

import grp
import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.system.evidence import (
    check_history,
    check_processes,
    environment,
    events,
    exits,
    jobs,
    jobs_processes,
    kill,
    kill_launcher,
    kinds,
)
from tests.system.keeper_process import status
from tests.system.launcher_host import Host, alive, wait_for
from tests.system.peer import Peer, Refused, call

from relaunch.errors import BadSpec
from relaunch.launcher.accounts import account_of, check_account
from relaunch.model import JobSpec

NOBODY = pwd.getpwnam("nobody")
# No entry in any table of users.
AD_HOC = "54321"
# Two children that call setsid, one of which outlives its own parent; then the first process itself.
TREE = "setsid sleep 301 & (setsid sleep 302 &) ; exec sleep 300"


def spec(**fields: object) -> JobSpec:
    return JobSpec.from_wire({"label": "a", "argv": ["true"], **fields})


def output(host: Host, label: str) -> str:
    return host.launch("logs", label).stdout


# Who it is


@pytest.mark.usefixtures("root")
def test_an_account_is_what_this_hosts_tables_say() -> None:
    """[S30] Names, numbers, the user's own groups, and what is told in the environment."""
    nobody = {"uid": NOBODY.pw_uid, "gid": NOBODY.pw_gid, "groups": os.getgrouplist("nobody", NOBODY.pw_gid)}
    env = {"HOME": NOBODY.pw_dir, "USER": "nobody", "LOGNAME": "nobody", "SHELL": NOBODY.pw_shell}
    for name in ("nobody", str(NOBODY.pw_uid)):
        assert (account_of(spec(user=name)).user, account_of(spec(user=name)).env) == (nobody, env)
    daemon = grp.getgrnam("daemon").gr_gid
    account = account_of(spec(user="nobody", group="daemon"))
    assert account.user == nobody | {"gid": daemon, "groups": os.getgrouplist("nobody", daemon)}
    account = account_of(spec(user=AD_HOC, group="4321"))
    assert account.user == {"uid": int(AD_HOC), "gid": 4321, "groups": [4321]}
    assert account.env == {"HOME": "/", "USER": AD_HOC, "LOGNAME": AD_HOC, "SHELL": "/bin/sh"}
    account = account_of(spec(group="daemon"))
    assert (account.user, account.env) == ({"uid": 0, "gid": daemon, "groups": os.getgrouplist("root", daemon)}, {})


def test_naming_oneself_changes_nothing() -> None:
    """[S30] It is who the launcher is in any case; the environment says so."""
    assert account_of(spec()).user is None
    assert not account_of(spec()).env
    mine = pwd.getpwuid(os.geteuid())
    account = account_of(spec(user=mine.pw_name, group=grp.getgrgid(os.getegid()).gr_name))
    assert account.user is None
    assert account.env["HOME"] == mine.pw_dir


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"user": "no-such-user"}, "a: user: this host has no user 'no-such-user'"),
        ({"user": "4294967295", "group": "0"}, "a: user: this host has no user '4294967295'"),
        ({"user": "nobody", "group": "no-such-group"}, "a: group: this host has no group 'no-such-group'"),
        ({"group": "-1"}, "a: group: this host has no group '-1'"),
        ({"user": AD_HOC}, f"a: group: must be given, as this host has no user of the number {AD_HOC}"),
    ],
)
def test_who_is_not_known_is_refused(fields: dict[str, object], line: str) -> None:
    """[S30] One line, which names the key."""
    with pytest.raises(BadSpec) as refused:
        check_account(spec(**fields))
    assert str(refused.value).startswith(line)


@pytest.mark.usefixtures("root")
def test_only_roots_launcher_may_choose() -> None:
    """[S30] Another's may name its own user and group, in words and in numbers."""
    script = """
from relaunch.errors import BadSpec
from relaunch.launcher.accounts import check_account
from relaunch.model import JobSpec
import os
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
for fields in ({}, {"user": "nobody"}, {"user": "65534", "group": "65534"}, {"user": "root"}, {"group": "0"},
               {"user": "nobody", "group": "daemon"}):
    try:
        check_account(JobSpec.from_wire({"label": "a", "argv": ["true"], **fields}))
        print("fine")
    except BadSpec as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    only = "only a launcher that root runs may choose"
    assert [line.partition(";")[0] for line in done.stdout.splitlines()] == [
        *["fine"] * 3,
        f"a: user: {only} root",
        f"a: group: {only} 0",
        f"a: group: {only} daemon",
    ]


def test_a_submit_for_nobody_is_refused(host: Host) -> None:
    """[S30] [S3] And leaves no job that runs."""
    with Peer(host.socket) as peer, pytest.raises(Refused) as refused:
        peer.submit("a", user="no-such-user")
    assert "user: this host has no user 'no-such-user'" in refused.value.message
    assert not [job for job in jobs(host).values() if job["pid"]]


# What it finds


@pytest.mark.usefixtures("root")
def test_a_job_runs_as_its_user(host: Host) -> None:
    """[S30] [S11] Its environment is that user's, its own output is kept by the launcher."""
    script = "id -u; id -g; echo $HOME $USER $LOGNAME $SHELL"
    with Peer(host.socket) as peer:
        peer.submit("named", "sh", "-c", script, user="nobody")
        env = {"PATH": os.environ["PATH"], "HOME": "/tmp", "USER": "me"}
        peer.submit("numbered", "sh", "-c", script, user=AD_HOC, group="4321", env=env)
        peer.call("Wait", {"patterns": ["named", "numbered"]})
    ours = f"{NOBODY.pw_dir} nobody nobody {NOBODY.pw_shell}"
    assert output(host, "named") == f"{NOBODY.pw_uid}\n{NOBODY.pw_gid}\n{ours}\n"
    assert output(host, "numbered") == f"{AD_HOC}\n4321\n/tmp me {AD_HOC} /bin/sh\n"
    (end,) = exits(host, "named")
    assert (end["reason"], end["code"]) == ("exited", 0)


@pytest.mark.usefixtures("root")
def test_a_trap_in_the_users_directory_is_not_walked_into(host: Host, tmp_path: Path) -> None:
    """[S30] [S23] Root's launcher appends to nothing that the user could not write to."""
    secret = tmp_path / "secret"
    secret.write_text("root's\n")
    secret.chmod(0o600)
    tmp_path.chmod(0o755)
    link = Path(host.place) / "link"
    link.symlink_to(secret)
    host.place.chmod(0o755)
    with Peer(host.socket) as peer, pytest.raises(Refused) as refused:
        peer.submit("a", "echo", "mine", user="nobody", stdout=str(link))
    assert refused.value.name == "StartFailed"
    assert f"stdout {link}: Permission denied" in refused.value.message
    assert secret.read_text() == "root's\n"


@pytest.mark.usefixtures("root")
def test_what_the_user_puts_in_the_place_of_his_output_is_not_read(host: Host, tmp_path: Path) -> None:
    """[S30] [S39] Root's launcher shows nothing, and searches nothing, that the user could not read."""
    secret = tmp_path / "secret"
    secret.write_text("root's\n")
    secret.chmod(0o600)
    home = host.place / "home"
    home.mkdir()
    os.chown(home, NOBODY.pw_uid, -1)
    host.place.chmod(0o755)
    tmp_path.chmod(0o755)
    swap = f"echo mine; rm {home}/out; ln -s {secret} {home}/out"
    with Peer(host.socket) as peer:
        fields = {"user": "nobody", "stdout": f"{home}/out"}
        peer.submit("plain", "sh", "-c", "echo mine; exit 1", **fields)
        peer.call("Wait", {"patterns": ["plain"]})
        peer.submit("ends", "sh", "-c", f"{swap}; exit 1", **fields)
        peer.call("Wait", {"patterns": ["ends"]})
        (home / "out").unlink()
        peer.submit("stays", "sh", "-c", f"{swap}; sleep 300", ready={"log_line": "root"}, **fields)
        wait_for((home / "out").is_symlink, what="the link is there")
        kill_launcher(host)
    assert [exits(host, label)[0]["output_tail"] for label in ("plain", "ends")] == [["mine"], []]
    shown = host.launch("logs", "stays", check=False)
    assert (shown.returncode, shown.stdout) != (0, "root's\n")
    assert "belongs to another user" in shown.stderr
    assert jobs(host)["stays"]["state"] == "running"


@pytest.mark.usefixtures("root")
def test_nobody_can_tell_the_id_of_another_users_job_from_his_own(host: Host) -> None:
    """[S30] [S39] Who carries it is taken for a part of that job, and may say that it is ready."""
    with Peer(host.socket) as peer:
        ids = [peer.submit(f"a{number}", "true", user="nobody")["id"] for number in range(8)]
    assert len({job_id[:8] for job_id in ids}) == 8


@pytest.mark.usefixtures("root")
def test_kept_limits_patterns_and_priority_reach_the_job(host: Host) -> None:
    """[S32]"""
    script = 'ionice; ulimit -Sn; ulimit -Hn; echo "$@"'
    fields = {"low_priority_io": True, "globbing": True, "limits": {"nofile": "50:inherit"}}
    with Peer(host.socket) as peer:
        peer.submit("a", "sh", "-c", script, "sh", "/bin/tru[e]", **fields)
        peer.call("Wait", {"patterns": ["a"]})
    priority, soft, hard, matched = output(host, "a").splitlines()
    assert (priority, soft, matched) == ("best-effort: prio 7", "50", "/bin/true")
    assert int(hard) > 50


# That it is kept as all others are


@pytest.mark.parametrize("user", ["nobody", AD_HOC])
@pytest.mark.usefixtures("root")
def test_its_whole_tree_is_stopped(host: Host, user: str) -> None:
    """[S30] [S4] [S6] Found by descent and by its mark, and signalled, though it is another's."""
    with Peer(host.socket) as peer:
        job = peer.submit("a", "sh", "-c", TREE, user=user, group="4321")
    wait_for(lambda: len(jobs_processes(host)[job["id"]]) == 3, what="the tree stands")
    tree = jobs_processes(host)[job["id"]]
    uid = str(NOBODY.pw_uid) if user == "nobody" else user
    assert {status(pid, "Uid").split()[0] for pid in tree} == {uid}
    kill_launcher(host)
    (outcome,) = call(host.socket, "Stop", {"patterns": ["a"]})["outcomes"]
    assert (outcome["error"], outcome["job"]["state"]) == (None, "exited")
    assert not [pid for pid in tree if alive(pid)]
    check_history(events(host))


@pytest.mark.parametrize("user", ["nobody", AD_HOC])
@pytest.mark.usefixtures("root")
def test_it_is_adopted_by_the_next_keeper(host: Host, user: str) -> None:
    """[S30] [S22] By what the journal knows, though a process of another user is never taken in by its marks alone."""
    with Peer(host.socket) as peer:
        job = peer.submit("a", "sh", "-c", TREE, user=user, group="4321", keep_alive=True, throttle_s=0.0)
    wait_for(lambda: len(jobs_processes(host)[job["id"]]) == 3, what="the tree stands")
    tree = jobs_processes(host)[job["id"]]
    kill(int(call(host.socket, "GetStatus")["status"]["keeper_pid"]))
    host.serve()
    assert (jobs(host)["a"]["pid"], jobs(host)["a"]["run"]) == (job["pid"], 1)
    os.kill(job["pid"], signal.SIGKILL)
    wait_for(lambda: jobs(host)["a"]["restarts"] == 1 and jobs(host)["a"]["pid"], what="it is started again")
    assert not [pid for pid in tree if alive(pid)]
    (end,) = exits(host, "a")
    assert (end["reason"], end["signal"]) == ("crashed", "KILL")
    pid = jobs(host)["a"]["pid"]
    assert status(pid, "Uid").split()[0] == (str(NOBODY.pw_uid) if user == "nobody" else user)
    assert environment(pid)["LAUNCH_JOB_RUN"] == "2"
    call(host.socket, "Stop", {"patterns": ["a"]})
    check_history(events(host))
    check_processes(host)


@pytest.mark.usefixtures("root")
def test_a_start_that_was_not_journaled_is_found(host: Host) -> None:
    """[S30] [S21] [S22] The launcher dies with orders on their way; nothing is started twice."""
    with Peer(host.socket) as peer:
        for number in range(5):
            peer.send("Submit", {"spec": {"label": f"a{number}", "argv": ["sleep", "300"], "user": "nobody"}})
        peer.answer()
        launcher = int(call(host.socket, "GetStatus")["status"]["launcher_pid"])
        keeper = int(call(host.socket, "GetStatus")["status"]["keeper_pid"])
        os.kill(keeper, signal.SIGSTOP)
        for number in range(5, 10):
            peer.send("Submit", {"spec": {"label": f"a{number}", "argv": ["sleep", "300"], "user": "nobody"}})
        wait_for(lambda: len(jobs(host)) == 10, what="they are taken in")
        os.kill(launcher, signal.SIGKILL)
        os.kill(keeper, signal.SIGCONT)
    wait_for(lambda: [job["state"] for job in jobs(host).values()] == ["running"] * 10, what="all run")
    check_processes(host)
    assert kinds(events(host)).count("job.started") == 10
    call(host.socket, "Stop", {"patterns": ["*"]})
    check_history(events(host))


@pytest.mark.usefixtures("root")
def test_a_process_that_no_launcher_heard_of_is_found_by_the_next_keepers(host: Host) -> None:
    """[S30] [S22] Both died before that was journaled: by its mark, for a start that the journal knows."""
    answered = call(host.socket, "GetStatus")["status"]
    keeper, launcher = int(answered["keeper_pid"]), int(answered["launcher_pid"])
    with Peer(host.socket) as peer:
        os.kill(keeper, signal.SIGSTOP)
        peer.send("Submit", {"spec": {"label": "a", "argv": ["sleep", "300"], "user": "nobody"}})
        wait_for(lambda: jobs(host).get("a"), what="it is taken in")
        (job_id,) = [job["id"] for job in jobs(host).values()]
        os.kill(launcher, signal.SIGSTOP)
        os.kill(keeper, signal.SIGCONT)
        (pid,) = wait_for(lambda: jobs_processes(host)[job_id], what="it is started")
        os.kill(keeper, signal.SIGSTOP)
        kill(launcher)
        kill(keeper)
    host.serve()
    found = jobs(host)["a"]
    assert (found["id"], found["state"], found["pid"], found["run"]) == (job_id, "running", pid, 1)
    call(host.socket, "Stop", {"patterns": ["a"]})
    assert not alive(pid)
    check_history(events(host))
