"""What commands say to a slip of the hand, and what they say to programs."""

import json

import pytest
from tests.hosts.test_ssh import drive
from tests.system.launcher_host import Host

import relaunch
from relaunch.errors import BadSpec

SLIPS: list[tuple[list[str], int, str]] = [
    (["stop", "group/p1x"], 1, "; did you mean group/p1?"),
    (["wait", "gruop/p1"], 1, "; did you mean group/p1?"),
    (["signal", "CONT", "group/p1", "grou/p1"], 1, "; did you mean group/p1?"),
    (["logs", "group-p1"], 1, "; did you mean group/p1?"),
    (["stop", "quite-another"], 1, "quite-another\n"),
    (["stop", "grou/*x"], 1, "'grou/*x'\n"),
    (
        ["submit", "-l", "x{index}", "-p", "ls"],
        2,
        "; {index} stands for something only with -H HOSTS before the command",
    ),
    (["subscribe", "group/p1"], 2, "labels are chosen with -f"),
    (["submit", "-l", "x", "-p", "sleep 5"], 1, "its words are arguments of their own, not quoted together"),
]


def test_a_slip_is_told_with_what_may_have_been_meant(host: Host) -> None:
    """[W5]"""
    host.launch("submit", "-l", "group/p1", "-p", "sleep", "120")
    for typed, status, part in SLIPS:
        done = host.launch(*typed, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (status, 1)
        assert part in done.stderr


def test_one_text_is_no_list_of_words(host: Host) -> None:
    async def work() -> None:
        async with relaunch.connect(str(host.socket)) as launcher:
            with pytest.raises(BadSpec, match="list of words"):
                await launcher.submit("p9", "sleep 1")
            assert await launcher.list() == []

    drive(work())


def test_every_answer_can_be_had_as_json(host: Host) -> None:
    """[W13]"""

    def answer(*typed: str, status: int = 0) -> object:
        done = host.launch(*typed, check=False)
        assert (done.returncode, done.stderr) == (status, "")
        return json.loads(done.stdout)

    job = answer("submit", "-l", "p1", "--json", "-p", "sleep", "120")
    assert isinstance(job, dict)
    assert (job["label"], job["state"]) == ("p1", "running")
    for line in (["signal", "CONT", "p1"], ["restart", "p1"], ["stop", "p1"], ["kill", "p1"]):
        outcomes = answer(*line, "--json")
        assert isinstance(outcomes, list)
        assert [one["label"] for one in outcomes] == ["p1"]
    refused = answer("signal", "CONT", "p1", "--json", status=1)
    assert isinstance(refused, list)
    assert refused[0]["error"] == "io.relaunch.Launcher.NotRunning"
    replaced = answer("serve", "--replace", "--json")
    assert replaced == {"how": "replaced", "keeper_pid": host.keeper_pid, "socket": str(host.socket)}
    assert answer("shutdown", "--json") == []
    served = answer("serve", "--background", "--json")
    assert served == {"how": "started", "keeper_pid": host.keeper_pid, "socket": str(host.socket)}
    assert "in the foreground" in host.launch("serve", "--json", check=False).stderr


def test_a_subscription_is_ended_by_the_first_digits_of_its_id(host: Host) -> None:
    """[D36]"""
    ids = ["abcd" + "0" * 28, "abcd" + "1" * 28]

    async def work() -> None:
        async with relaunch.connect(str(host.socket)) as launcher:
            for one in ids:
                await launcher.subscribe(
                    relaunch.subscription.SubscriptionSpec(
                        id=one, address="127.0.0.1:1", transport="tcp", fingerprint="0" * 64, secret="1" * 64
                    )
                )

    drive(work())
    for few in ("abcd", "abc", "0"):
        assert host.launch("unsubscribe", few, check=False).stderr == f"launch: there is no subscription {few!r}\n"
    assert host.launch("unsubscribe", "abcd0").stdout == f"{ids[0]}: ended\n"
    assert json.loads(host.launch("unsubscribe", "abcd", "--json").stdout) == [ids[1]]
