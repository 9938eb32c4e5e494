"""What a call may hold and nobody would type: each gets an error that names it, and harms nothing."""

import json
from itertools import product
from typing import Any

import pytest
from tests.system.evidence import jobs, launcher_pid
from tests.system.launcher_host import Host, wait_for
from tests.system.peer import Peer, Refused, call, spec_of

# As JSON, since not every one of these can be said in Python.
VALUES = [
    *("null", "true", "false", "0", "-1", "1.5", "1e400", "-1e400", "NaN", "Infinity"),
    *(str(2**31), str(2**63 - 1), str(2**63), str(2**64), str(2**70), "-" + str(2**63)),
    *('""', '"x"', r'"\u0000"', r'"\ud800"', r'"\udcff"', r'"\u001b[2J\n"', '"' + "x" * 5000 + '"'),
    *("[]", "[[]]", "[null]", "[1]", '["x"]', '["["]', r'["\u0000"]', r'["\ud800"]', '["' + "*a" * 99 + '"]'),
    *("{}", '{"a":1}', '{"a":null}', '{"":""}', r'{"\u0000":"x"}', '{"nofile":[]}', "[" * 500 + "]" * 500),
]
GOOD: dict[str, dict[str, Any]] = {
    "Submit": {"spec": {}},
    "List": {"patterns": []},
    "Describe": {"label": "a"},
    "GetStatus": {"nothing": 1},
    "Stop": {"patterns": ["none"], "signal": "TERM", "timeout_s": 1},
    "Restart": {"patterns": ["none"]},
    "Signal": {"patterns": ["none"], "signal": "CONT"},
    "Wait": {"patterns": ["none"]},
    "Logs": {"label": "a", "lines": 1, "follow": False},
    "Events": {"patterns": [], "since": 0, "since_at": 0, "count": 1, "follow": False},
}
SPEC = (
    "label argv program env cwd stdin stdout stderr keep_alive throttle_s stop_timeout_s stop_signal umask nice limits"
    " output_bytes_max unknown"
).split()
ESCAPES = "\x1b]0;title\x07\x1b[2J\n\x9b1m"


def _said(peer: Peer, method: str, parameters: dict[str, Any], place: list[str], value: str) -> dict[str, Any]:
    """The reply to a call with one value, given as JSON, put in one place of it."""
    at = parameters = json.loads(json.dumps(parameters))
    for name in place[:-1]:
        at = at.setdefault(name, {})
    at[place[-1]] = "@"
    call = json.dumps({"method": f"io.relaunch.Launcher.{method}", "parameters": parameters}).replace('"@"', value)
    peer.socket.sendall(call.encode() + b"\0")
    return peer.reply()


def _check(reply: dict[str, Any], what: object) -> None:
    name, message = reply.get("error"), (reply.get("parameters") or {}).get("message", "")
    assert (name is None) == (not message), what
    assert name != "io.relaunch.Launcher.RelaunchError", (what, message)
    assert "inside" not in message, what
    # Bytes that are no text stay what they are (PEP 383).
    assert name is None or message.replace("\udcff", "?").isprintable(), (what, message)


def test_every_parameter_with_every_kind_of_value(host: Host) -> None:
    """[W5] [W12] An answer or an error of the interface, never a failure inside, never a dead connection."""
    with Peer(host.socket) as peer:
        peer.submit("a", "true")
        for method, parameters in GOOD.items():
            for name, value in product(parameters, VALUES):
                _check(_said(peer, method, parameters, [name], value), (method, name, value))
        for number, (name, value) in enumerate(product(SPEC, VALUES)):
            spec = spec_of(f"b/{number}", "true")
            _check(_said(peer, "Submit", {"spec": spec}, ["spec", name], value), (name, value))
    status = call(host.socket, "GetStatus")["status"]
    assert status["launcher_starts"] == 1
    assert launcher_pid(host) == status["launcher_pid"]


def test_the_largest_numbers_there_are(host: Host) -> None:
    """[W5] A sequence that no journal has is no event's, and one that no journal can have is refused."""
    with Peer(host.socket) as peer:
        assert peer.call("Events", {"since": 2**63 - 1}) == {"events": []}
        assert peer.call("Events", {"count": 2**63 - 1})["events"]
        for name, more in product(("since", "count"), (False, True)):
            peer.send("Events", {name: 2**63}, more=more)
            with pytest.raises(Refused, match="must be a whole number from 0 to") as caught:
                peer.answer()
            assert caught.value.name == "BadCall"


def test_what_has_to_be_told_fits_a_message(host: Host) -> None:
    """[W3] [W5] The largest spec that is taken can be described, and its events read; a larger one is refused."""
    with Peer(host.socket) as peer:
        peer.submit("a", "sh", "-c", "sleep 300 & sleep 301", *["x" * 1000] * 1000)
        with pytest.raises(Refused, match=r"has 1[0-9]{6} bytes as JSON") as caught:
            peer.submit("b", "true", *["\N{LATIN SMALL LETTER E WITH ACUTE}" * 1000] * 200)
        assert caught.value.name == "BadSpec"
        wait_for(lambda: len(peer.call("Describe", {"label": "a"})["processes"]) == 3, what="its tree stands")
        peer.call("Stop", {"patterns": ["a"]})
        for _ in range(8):
            peer.call("Restart", {"patterns": ["a"]})
    found = host.events("a")
    assert len(found) > 20
    assert {len(event["data"]["argv"]) for event in found} == {1003}


def test_many_large_jobs_fit_an_answer(host: Host) -> None:
    """[W3] [W6] All of them are listed, and stopped, in one request each."""
    with Peer(host.socket) as peer:
        for number in range(6):
            peer.submit(f"large{number}", "sh", "-c", "sleep 300", *["x" * 1000] * 900)
    assert set(host.jobs()) == {f"large{number}" for number in range(6)}
    assert host.launch("stop", "large*").stdout.count("stopped") == 6


def test_nothing_that_was_given_reaches_the_terminal_as_it_is(host: Host) -> None:
    """[W5] Neither in what is refused, nor in what is told of a job."""
    told = [
        host.launch("submit", "-l", "a", "-p", f"/no/{ESCAPES}", check=False),
        host.launch("submit", "-l", "b", "--cwd", f"/no/{ESCAPES}", "-p", "true", check=False),
        host.launch("submit", "-l", f"c{ESCAPES}", "-p", "true", check=False),
        host.launch("stop", f"*{ESCAPES}", check=False),
        host.launch("signal", ESCAPES, "a", check=False),
        host.launch("list", f"--{ESCAPES}", check=False),
        host.launch(ESCAPES, check=False),
    ]
    assert all(done.returncode in (1, 2) and done.stderr.startswith("launch: ") for done in told)
    with Peer(host.socket) as peer:
        path = f"{host.place}/{ESCAPES}"
        named = ["bash", "-c", 'exec -a "$0" sleep 300', ESCAPES]
        peer.submit("d", *named, stderr=path, env={"PATH": "/usr/bin:/bin", "A": ESCAPES})
        wait_for(lambda: len(peer.call("Describe", {"label": "d"})["processes"]) == 1, what="it is there")
    told += [host.launch("status", label) for label in jobs(host)]
    told += [host.launch("list"), host.launch("events"), host.launch("events", "--json"), host.launch("list", "--json")]
    for done in told:
        for line in (done.stdout + done.stderr).splitlines():
            assert line.isprintable(), (done.args, line)
        assert done.stderr.count("\n") <= 1
