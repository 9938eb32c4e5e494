"""``launch doctor -H``: what is wrong with a host is named, and what to do; all of it provoked for real."""

import json
import os
import subprocess
import time
from typing import Any

import pytest
from tests.hosts.conftest import ConnectSsh
from tests.hosts.network import run
from tests.hosts.sshd import CLIENT_ADDRESS, Sshd, SshNetwork, make_key
from tests.system.launcher_host import LAUNCH

WELL = "ssh login launch launcher forward logout clock cgroup kernel limits state output".split()
Findings = dict[str, dict[str, Any]]


def doctor(network: SshNetwork, *args: str, status: int, inside: bool = False) -> str:
    """Run it as the client; ``inside`` the client's network, where hosts can connect to it."""
    enter = network.enter if inside else []
    done = subprocess.run(
        [*enter, LAUNCH, "doctor", *args], env=os.environ, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == status, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert not done.stderr
    return done.stdout


def found(network: SshNetwork, *args: str, status: int, inside: bool = False) -> dict[str, Findings]:
    """What it found, by host and check."""
    lines = map(json.loads, doctor(network, "--json", *args, status=status, inside=inside).splitlines())
    return {line["host"]: {one["check"]: one for one in line["findings"]} for line in lines}


def failing(findings: Findings) -> dict[str, str]:
    """The failures, in words, by check."""
    return {name: f"{one['text']}; {one['advice']}" for name, one in findings.items() if one["level"] == "fail"}


def test_hosts_that_are_well_share_their_lines(five: SshNetwork) -> None:
    """[R25]"""
    lines = doctor(five, "-H", "host[1-3]", status=0).splitlines()
    assert [line.split()[1] for line in lines] == WELL
    assert all(line.startswith("ok") and "  host[1-3]: " in line for line in lines)


def test_each_way_to_fail_is_named_and_the_others_are_told_of(connect_ssh: ConnectSsh) -> None:
    """[R25, R26]"""
    network = connect_ssh(Sshd(), Sshd(installed=False), Sshd(), Sshd(), Sshd(forwards=False))
    well, without, silent, down, bridged = network.ssh_hosts
    for host in (well, bridged):
        host.serve()
    down.kill_sshd()
    told = found(network, "-H", "host[1-5]", status=1)
    assert [*told[well.name]] == WELL
    assert failing(told[well.name]) == failing(told[bridged.name]) == {}
    assert [*told[without.name]] == ["ssh", "login", "launch"]
    assert "finds no launch" in failing(told[without.name])["launch"]
    assert "install relaunch there" in failing(told[without.name])["launch"]
    assert failing(told[silent.name]) == {"launcher": "no launcher runs; start one: launch -H host3 serve"}
    assert [*told[silent.name]] == WELL
    assert [*told[down.name]] == ["ssh"]
    assert "Connection refused" in failing(told[down.name])["ssh"]
    assert f"ssh -v {down.name}" in failing(told[down.name])["ssh"]
    forward = told[bridged.name]["forward"]
    assert (forward["level"], forward["text"]) == ("warn", "sockets are not forwarded")
    assert "AllowStreamLocalForwarding" in forward["advice"]
    lines = doctor(network, "-H", "host[1-5]", status=1).splitlines()
    assert "FAIL  launch    host2: its login shell finds no launch" in "\n".join(lines)
    assert any(line.startswith("ok    kernel    host[1,3,5]: ") for line in lines)


def test_a_key_that_is_not_accepted_and_one_that_is_not_known(connect_ssh: ConnectSsh) -> None:
    """[R25] It asks nobody."""
    network = connect_ssh(Sshd(), Sshd())
    first, second = network.ssh_hosts
    other = make_key(network.client / "other_key")
    network.write_config(
        f"Host {first.name}", f" IdentityFile {other}", f"Host {second.name}", " HostKeyAlias stranger"
    )
    config = network.config.read_text().replace(f" IdentityFile {network.user_key}\n", "")
    network.config.write_text(f"{config} IdentityFile {other}\n")
    told = found(network, "-H", "host[1-2]", status=1)
    assert [*told[first.name]] == ["ssh", "login"]
    assert "could not log in" in failing(told[first.name])["login"]
    assert "ssh-add" in failing(told[first.name])["login"]
    assert "not known" in failing(told[second.name])["ssh"]


@pytest.mark.timeout(90)
def test_a_host_that_is_cut_off_holds_up_no_other(five: SshNetwork) -> None:
    """[R26]"""
    well, lost, *_ = five.ssh_hosts
    lost.cut()
    begin = time.monotonic()
    told = found(five, "-H", "host[1-2]", status=1)
    assert time.monotonic() - begin < 25
    assert failing(told[well.name]) == {}
    assert [*failing(told[lost.name])] == ["ssh"]
    assert "in time" in failing(told[lost.name])["ssh"] or "no answer" in failing(told[lost.name])["ssh"]
    lost.heal()


def test_whether_a_port_of_ours_can_be_reached_from_there(connect_ssh: ConnectSsh) -> None:
    """[R27] Over TCP and UDP each, from each host; an address without a host is that which ssh came from."""
    network = connect_ssh(*(Sshd() for _ in range(3)))
    network.serve()
    for host, kind in zip(network.ssh_hosts[1:], ("tcp", "udp"), strict=True):
        rule = "add table inet port; add chain inet port out { type filter hook output priority 0; }; "
        run(*host.enter, "nft", f"{rule}add rule inet port out {kind} dport 9000 drop")
    told = found(network, "-H", "host[1-3]", "--port", ":9000", status=1, inside=True)
    assert told["host1"]["port"]["text"] == f"{CLIENT_ADDRESS}:9000 can be reached"
    assert failing(told["host2"])["port"].startswith(f"{CLIENT_ADDRESS}:9000 cannot be reached (tcp: no answer)")
    assert failing(told["host3"])["port"].startswith(f"{CLIENT_ADDRESS}:9000 cannot be reached (udp: ")
    assert "firewall" in failing(told["host3"])["port"]
    told = found(network, "-H", "host1", "--port", "10.77.0.99:9000", status=1)
    assert failing(told["host1"])["port"].startswith("10.77.0.99:9000 cannot be reached (tcp: ")


def test_a_port_at_which_nobody_listens_is_no_firewalls_fault(connect_ssh: ConnectSsh) -> None:
    """[R27] This cannot listen at an address of the host itself; and where it is to be started, is said for all."""
    network = connect_ssh(Sshd(), Sshd())
    (first, *_) = network.ssh_hosts
    told = found(network, "-H", "host1", "--port", f"{first.address}:39019", status=1, inside=True)
    assert "nobody listens there" in failing(told["host1"])["port"]
    assert "firewall" not in failing(told["host1"])["port"]
    assert "launch -H host[1-2] serve" in doctor(network, "-H", "host[1-2]", status=1)


def test_the_difference_of_clocks_is_told_within_half_a_round_trip(connect_ssh: ConnectSsh) -> None:
    """[R27] These hosts have one clock, so that the truth is known: no difference."""
    network = connect_ssh(Sshd(), Sshd(slow_s=0.5))
    for findings in found(network, "-H", "host[1-2]", status=1).values():
        clock = findings["clock"]["data"]
        assert abs(clock["ahead_s"]) <= clock["bound_s"] + 0.001  # two clocks are read, one after the other
        assert clock["bound_s"] == clock["round_trip_s"] / 2
        assert clock["round_trip_s"] < 0.4, "the time that logging in takes is no part of it"


def test_another_version_there_is_told(connect_ssh: ConnectSsh) -> None:
    """[R25]"""
    greeting = json.dumps({"relaunch": "9.0.0", "host": "h", "client": None})
    said = f"printf '%s\\0' '{greeting}'; exec cat"
    network = connect_ssh(Sshd(launch=said), Sshd(launch="echo 'launch: there is no command doctor' >&2; exit 2"))
    told = found(network, "-H", "host[1-2]", status=1)
    assert "9.0.0" in failing(told["host1"])["launch"]
    assert "older" in failing(told["host2"])["launch"]


def test_nothing_is_left_behind(connect_ssh: ConnectSsh) -> None:
    """[R27, R7]"""
    network = connect_ssh(Sshd(forwards=False), Sshd())
    for host in network.ssh_hosts:
        before = set(map(str, host.place.rglob("*")))
        doctor(network, "-H", host.name, status=1)
        assert {path for path in map(str, host.place.rglob("*")) if not path.endswith("sshd.log")} <= before
    assert network.masters() == []


def test_hosts_come_from_the_environment_too(connect_ssh: ConnectSsh, monkeypatch: pytest.MonkeyPatch) -> None:
    """[R25]"""
    network = connect_ssh(Sshd())
    monkeypatch.setenv("LAUNCH_HOSTS", "host1")
    assert [*found(network, status=1)] == ["host1"]
