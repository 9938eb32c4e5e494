"""The Varlink server and its clients: the reference one, many, broken, silent, greedy and foreign ones."""

import base64
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import varlink
from tests.system.evidence import cpu_s, jobs, kinds, launcher_pid, rss_bytes, switches
from tests.system.launcher_host import LAUNCH, Host, wait_for
from tests.system.peer import HungUp, Peer, Refused, call, encode, spec_of

from relaunch.errors import BY_WIRE_NAME, ProtocolBroken, Unreachable

INTERFACES = Path(__file__).resolve().parents[2] / "src" / "relaunch" / "interfaces"
MESSAGE_BYTES_MAX = 4 * 1024 * 1024
NOBODY = 65534


@contextmanager
def reference_client(host: Host) -> Iterator[Any]:
    """The PyPI package's own client, with the interface as it is told by introspection."""
    address = f"unix:{host.socket}"
    with varlink.Client.new_with_address(address) as client, client.open("io.relaunch.Launcher") as launcher:
        yield launcher


# Conformance


@pytest.fixture
def host(shared: Host) -> Host:
    """Shared by all tests here, each with labels of its own."""
    return shared


def test_the_reference_client_drives_a_launcher(fresh: Host) -> None:
    """[W1] [W5] It learns the interface from the launcher, submits, lists, and gets typed errors."""
    with varlink.Client.new_with_address(f"unix:{fresh.socket}") as client:
        info = client.get_interface("org.varlink.service").description
        assert "method GetInfo()" in info
        description = client.get_interface("io.relaunch.Launcher").description
    assert description == (INTERFACES / "io.relaunch.Launcher.varlink").read_text()
    with reference_client(fresh) as launcher:
        job = launcher.Submit({"label": "a", "argv": ["sleep", "300"]})["job"]
        assert (job["label"], job["state"]) == ("a", "running")
        assert [job["label"] for job in launcher.List(["*"])["jobs"]] == ["a"]
        assert launcher.Describe("a")["spec"]["argv"] == ["sleep", "300"]
        with pytest.raises(varlink.VarlinkError) as caught:
            launcher.Submit({"label": "a", "argv": ["sleep", "300"]})
        assert caught.value.error() == "io.relaunch.Launcher.LabelInUse"
        assert "in use" in caught.value.parameters()["message"]
        (outcome,) = launcher.Stop(["a"], None, None)["outcomes"]
        assert outcome["job"]["state"] == "exited"


def test_the_reference_client_follows_events(fresh: Host) -> None:
    """[W2] [J6] With ``more``, reply after reply."""
    with reference_client(fresh) as launcher, Peer(fresh.socket) as peer:
        replies = launcher.Events(["a"], 0, None, None, True, _more=True)
        seen: list[str] = []
        peer.submit("b")
        for number in range(3):
            peer.submit("a", "sh", "-c", f"exit {number}")
            while seen.count("job.exited") <= number:
                seen += kinds(next(replies)["events"])
        assert seen == ["job.submitted", "job.started", "job.exited"] * 3


@pytest.mark.parametrize("tool", [["info"], ["help", "io.relaunch.Launcher"], ["call", "io.relaunch.Launcher.List"]])
def test_the_reference_command_line(fresh: Host, tool: list[str]) -> None:
    """[W1] ``python -m varlink.cli``, as a user of another tool would type."""
    command, *names = tool
    address = f"unix:{fresh.socket}"
    words = [command, f"{address}/{names[0]}" if names else address]
    if command == "call":
        words.append("{}")
    done = subprocess.run([sys.executable, "-m", "varlink.cli", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = {"info": "io.relaunch.Launcher", "help": "method Submit", "call": '"jobs": []'}
    assert expected[command] in done.stdout


def test_the_interfaces_members_have_names_of_their_own() -> None:
    """[W1] Types, methods and errors share one namespace."""
    for path in INTERFACES.glob("*.varlink"):
        names = re.findall(r"^(?:type|method|error) (\w+)", path.read_text(), re.MULTILINE)
        assert len(names) > 3
        assert len(names) == len(set(names))


@pytest.mark.parametrize("method", ["Replace", "Shutdown"])
def test_what_stands_behind_a_call_without_an_answer_is_not_taken_for_it(fresh: Host, method: str) -> None:
    """[W2] [W7] The launcher goes while a call waits: its caller is hung up on, and knows that it has no answer."""
    with Peer(fresh.socket) as waiting, Peer(fresh.socket) as other:
        waiting.submit("a")
        waiting.send("Wait", {"patterns": ["a"]})
        waiting.send("GetStatus")
        other.send(method, {"leave_jobs": True} if method == "Shutdown" else {})
        with pytest.raises(HungUp):
            waiting.reply()
    if method == "Shutdown":
        fresh.serve()


def test_a_half_closed_client_gets_all_answers_in_their_order(fresh: Host) -> None:
    """[W2] Streams that have an end too; one that has none ends there."""
    with Peer(fresh.socket) as peer:
        peer.submit("a", "echo", "printed")
        peer.call("Wait", {"patterns": ["a"]})
        peer.send("Events", {"since": 0, "count": 1}, more=True)
        peer.send("Logs", {"label": "a"}, more=True)
        peer.send("Events", {"follow": True}, more=True)
        peer.send("GetStatus")
        peer.socket.shutdown(socket.SHUT_WR)
        replies: list[dict[str, Any]] = []
        while sum(not one.get("continues") for one in replies) < 4:
            replies.append(peer.reply())
        ends = [one["parameters"] for one in replies if not one.get("continues")]
        assert [next(iter(end)) for end in ends] == ["events", "data", "events", "status"]
        printed = b"".join(
            base64.b64decode(one["parameters"]["data"]) for one in replies if "data" in one["parameters"]
        )
        assert printed == b"printed\n"


def test_a_stream_cannot_be_called_oneway(host: Host) -> None:
    """[W2] There would be no end of it, and others wait behind it."""
    with Peer(host.socket) as peer:
        peer.send("Events", {"follow": True}, more=True, oneway=True)
        assert "status" in peer.call("GetStatus")


def test_who_sends_garbage_behind_a_call_that_waits_and_goes_leaves_nothing_behind(host: Host) -> None:
    """[W12] Nothing is read from it any more, and yet that it has gone is seen."""
    with Peer(host.socket) as peer:
        peer.submit("goes-on")
    folder = Path(f"/proc/{launcher_pid(host)}/fd")
    before = len(os.listdir(folder)) + 5  # what it opens for itself when there is reason to
    for _ in range(10):
        for method, parameters, more in (
            ("Wait", {"patterns": ["goes-on"]}, False),
            ("Events", {"follow": True}, True),
        ):
            with Peer(host.socket) as peer:
                peer.send(method, parameters, more=more)
                call(host.socket, "GetStatus")
                peer.socket.sendall(b"garbage\0")
    wait_for(lambda: len(os.listdir(folder)) <= before, what="all are gone")


def test_the_interface_declares_the_errors_that_a_launcher_answers_with() -> None:
    """[W1] [W5] Neither fewer nor more: those that exist, but for what is told to nobody over its socket."""
    declared = re.findall(r"^error (\w+)", (INTERFACES / "io.relaunch.Launcher.varlink").read_text(), re.MULTILINE)
    elsewhere = {"AlreadyServing", "ServeFailed", "ListenFailed", "BadHost", "BadJobFile", "PartialFailure"}
    there_is = {
        kind.__name__ for kind in BY_WIRE_NAME.values() if kind is ProtocolBroken or not issubclass(kind, Unreachable)
    }
    assert set(declared) == there_is - elsewhere


def test_introspection_and_its_errors(host: Host) -> None:
    """[W1]"""
    with Peer(host.socket) as peer:
        info = peer.call("org.varlink.service.GetInfo")
        assert info["interfaces"] == ["org.varlink.service", "io.relaunch.Launcher"]
        assert set(info) == {"vendor", "product", "version", "url", "interfaces"}
        for name in info["interfaces"]:
            told = peer.call("org.varlink.service.GetInterfaceDescription", {"interface": name})["description"]
            assert told.splitlines()[-1] or f"interface {name}" in told
        for method, error, parameters in [
            ("org.varlink.service.GetInterfaceDescription", "InterfaceNotFound", {"interface": "None"}),
            ("org.varlink.service.Nothing", "MethodNotFound", {"method": "org.varlink.service.Nothing"}),
            ("org.example.Other.List", "InterfaceNotFound", {"interface": "org.example.Other"}),
            ("io.relaunch.Launcher.Nothing", "MethodNotFound", {"method": "io.relaunch.Launcher.Nothing"}),
        ]:
            peer.send(method)
            assert peer.reply() == {"error": f"org.varlink.service.{error}", "parameters": parameters}
        for wrong in [{"method": 5}, {"parameters": {}}, {"method": "a.b", "parameters": []}]:
            peer.socket.sendall(json.dumps(wrong).encode() + b"\0")
            assert peer.reply()["error"] == "io.relaunch.Launcher.BadCall"


# Order


def test_replies_leave_in_the_order_of_the_calls(host: Host) -> None:
    """[W2] Pipelined calls run at the same time, and the quick ones wait for the slow one before them."""
    with Peer(host.socket) as peer, Peer(host.socket) as other:
        peer.submit("a")
        peer.socket.sendall(encode("Wait", {"patterns": ["a"]}) + encode("Submit", {"spec": spec_of("b")}))
        peer.socket.sendall(b"".join(encode("Describe", {"label": "b"}) for _ in range(200)) + encode("GetStatus"))
        wait_for(lambda: "b" in jobs(host), what="the second call runs while the first one waits")
        other.call("Stop", {"patterns": ["a"]})
        assert peer.answer()["jobs"][0]["state"] == "exited"
        assert peer.answer()["job"]["label"] == "b"
        for _ in range(200):
            reply = peer.reply()
            assert reply.get("error") == "io.relaunch.Launcher.NoSuchLabel" or reply["parameters"]["spec"]
        assert "status" in peer.answer()


def test_a_oneway_call_is_carried_out_and_not_answered(fresh: Host) -> None:
    """[W2] Even when its client has gone at once."""
    with Peer(fresh.socket) as peer:
        peer.send("Submit", {"spec": spec_of("a")}, oneway=True)
        peer.send("Submit", {"spec": spec_of("a")}, oneway=True)
        assert peer.call("List")["jobs"] is not None
    for label in ("b", "c", "d"):
        with Peer(fresh.socket) as peer:
            peer.send("Submit", {"spec": spec_of(label)}, oneway=True)
    wait_for(lambda: set(jobs(fresh)) == set("abcd"), what="all are there")
    with Peer(fresh.socket) as peer:
        peer.send("Stop", {"patterns": ["a", "b"]}, oneway=True)
    wait_for(lambda: jobs(fresh)["a"]["state"] == jobs(fresh)["b"]["state"] == "exited", what="both are stopped")


def test_calls_before_a_half_close_are_answered(host: Host) -> None:
    """[W2] As ``printf ... | socat`` does it; a stream without end ends."""
    with Peer(host.socket) as peer:
        peer.submit("a", "sleep", "0.3")
        peer.socket.sendall(encode("Wait", {"patterns": ["a"]}) + encode("List"))
        peer.socket.sendall(encode("Events", {"follow": True}, more=True))
        peer.socket.shutdown(socket.SHUT_WR)
        assert peer.answer()["jobs"][0]["exit"]["code"] == 0
        assert peer.answer()["jobs"][0]["label"] == "a"
        assert peer.answer() == {"events": []}
        assert peer.hung_up()


# Broken ones


@pytest.mark.parametrize(
    "sent",
    [
        b"garbage\0",
        b"\0",
        b"[]\0",
        b'"text"\0',
        b"\xff\xfe\0",
        b'{"method"\0',
        b"[" * 100_000 + b"\0",
        b'{"a":NaN' + b"\0",
    ],
    ids=range(8),
)
def test_garbage_is_told_once_and_hung_up_on(fresh: Host, sent: bytes) -> None:
    """[W3] [W12] What came before it is answered, and nobody else notices."""
    with Peer(fresh.socket) as peer, Peer(fresh.socket) as other:
        peer.call("GetStatus")
        peer.socket.sendall(sent + encode("List"))
        assert peer.reply()["error"] == "io.relaunch.Launcher.ProtocolBroken"
        assert peer.hung_up()
        assert other.call("List") == {"jobs": []}


def test_a_message_over_the_bound(host: Host) -> None:
    """[W3] [W12] Told as soon as it is too long; the launcher keeps none of it."""
    pid = launcher_pid(host)
    before = rss_bytes(pid)
    with ExitStack() as stack:
        for _ in range(20):
            peer = stack.enter_context(Peer(host.socket))
            with pytest.raises(OSError, match=r"Broken pipe|reset"):
                peer.socket.sendall(b'{"method":"' + b"x" * (2 * MESSAGE_BYTES_MAX))
            assert peer.reply()["error"] == "io.relaunch.Launcher.ProtocolBroken"
            assert peer.hung_up()
    assert rss_bytes(pid) - before < 4 * MESSAGE_BYTES_MAX
    exactly = json.dumps({"method": "io.relaunch.Launcher.List", "parameters": {"x": ""}}).encode()
    with Peer(host.socket) as peer:
        filler = b"y" * (MESSAGE_BYTES_MAX - len(exactly))
        peer.socket.sendall(exactly.replace(b'""', b'"%s"' % filler) + b"\0")
        with pytest.raises(Refused, match="no parameter 'x'"):
            peer.answer()


def test_half_a_message(host: Host) -> None:
    """[W3] [W12] Waited for, in however small pieces it comes; never carried out when it does not come."""
    whole = encode("Submit", {"spec": spec_of("a")})
    with Peer(host.socket) as peer:
        for at in range(len(whole)):
            peer.socket.sendall(whole[at : at + 1])
        assert peer.answer()["job"]["label"] == "a"
        peer.socket.sendall(encode("Stop", {"patterns": ["a"]})[:-1])
    with Peer(host.socket) as peer:
        peer.socket.sendall(encode("Stop", {"patterns": ["a"]})[:-1])
        peer.socket.shutdown(socket.SHUT_WR)
        assert peer.hung_up()
    assert jobs(host)["a"]["state"] == "running"


# Greedy ones


def test_many_clients_at_once(fresh: Host) -> None:
    """[W12] [S3]"""
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(fresh.socket)) for _ in range(300)]
        for number, peer in enumerate(peers):
            peer.send("Submit", {"spec": spec_of(f"j{number}", "true")} if number % 3 == 0 else None)
            peer.send("List")
        for number, peer in enumerate(peers):
            reply = peer.reply()
            assert ("error" in reply) == (number % 3 != 0), reply
            assert "jobs" in peer.answer()
    assert len(jobs(fresh)) == 100


def test_silent_clients_and_clients_that_never_read(host: Host) -> None:
    """[W12] The launcher's memory is bounded, and the others are served as if they were not there."""
    launcher = launcher_pid(host)
    with ExitStack() as stack, Peer(host.socket) as peer:
        for number in range(50):
            peer.submit(f"label/{number:0190}")
        before = rss_bytes(launcher)
        for _ in range(20):
            silent, follower, lister = (stack.enter_context(Peer(host.socket)) for _ in range(3))
            silent.socket.sendall(b'{"method":')
            follower.socket.sendall(encode("Events", {"since": 0, "follow": True}, more=True) * 50)
            lister.socket.sendall(encode("List") * 2_000)
        for round_number in range(20):
            begin = time.monotonic()
            peer.submit(f"short{round_number}", "true")
            assert time.monotonic() - begin < 5
        # Of a lister: one turn's answers, 64 of 40 kB; of a follower: one piece.
        assert rss_bytes(launcher) - before < 120 * 1024 * 1024
    wait_for(lambda: len(os.listdir(f"/proc/{launcher}/fd")) < 40, what="their places are free again")


def test_a_client_that_goes_while_its_call_waits_gives_its_place_back(host: Host) -> None:
    """[W12] At once, or after it had closed its half first."""
    launcher = launcher_pid(host)
    with Peer(host.socket) as peer:
        peer.submit("a")
        before = len(os.listdir(f"/proc/{launcher}/fd"))
        for half in (False, True) * 10:
            waits = Peer(host.socket)
            waits.send("Wait", {"patterns": ["a"]})
            waits.send("Logs", {"label": "a", "follow": True}, more=True)
            if half:
                waits.socket.shutdown(socket.SHUT_WR)
                peer.call("List")
            waits.socket.close()
        wait_for(lambda: len(os.listdir(f"/proc/{launcher}/fd")) <= before, what="every place is free")
    assert jobs(host)["a"]["state"] == "running"


def test_an_answer_may_be_larger_than_a_call(fresh: Host) -> None:
    """[W3] One list of all jobs; events come in pieces of about a megabyte."""
    argument = "x" * 100_000
    with Peer(fresh.socket) as peer:
        for number in range(44):
            peer.submit(f"a{number}", "sh", "-c", "exit 0", argument)
        wait_for(lambda: peer.call("GetStatus")["status"]["jobs"] == {"exited": 44}, what="all have ended")
        assert sum(len(job["argv"][3]) for job in peer.call("List")["jobs"]) > MESSAGE_BYTES_MAX
        peer.send("Events", {}, more=True)
        told: list[str] = []
        while True:
            reply = peer.reply()
            assert len(json.dumps(reply)) < 2 * 1024 * 1024
            told += kinds(reply["parameters"]["events"])
            if not reply.get("continues"):
                break
        assert told.count("job.exited") == 44


@pytest.mark.usefixtures("root")
def test_another_user_is_refused(fresh: Host) -> None:
    """[W4] Though nothing keeps it from the socket but the launcher; told clearly, and hung up on."""
    program = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        'try: s.sendall(b\'{"method":"io.relaunch.Launcher.List"}\\0\')\n'
        "except BrokenPipeError: pass\n"
        "try:\n"
        "    while data := s.recv(4096): sys.stdout.buffer.write(data)\n"
        "except ConnectionResetError: pass\n"
    )
    # With the one capability that leads past the modes of files.
    as_nobody = f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups --inh-caps +dac_override"
    words = [*as_nobody.split(), "--ambient-caps", "+dac_override", sys.executable, "-c", program, str(fresh.socket)]
    done = subprocess.run(words, capture_output=True, check=True, cwd="/")
    reply = json.loads(done.stdout.removesuffix(b"\0"))
    assert reply["error"] == "io.relaunch.Launcher.NotPermitted"
    assert f"you are user {NOBODY}" in reply["parameters"]["message"]
    assert call(fresh.socket, "List") == {"jobs": []}


def test_few_descriptors(place: Host) -> None:
    """[W12] [S4] Clients wait or are told, jobs are stopped, nothing spins, and it all goes on when some have gone."""
    serve = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", str(LAUNCH), "serve", "--background"]
    subprocess.run(serve, env=place.env, check=True, capture_output=True)
    launcher = launcher_pid(place)
    with Peer(place.socket) as peer:
        peer.submit("a", "sh", "-c", "setsid sleep 301 & trap '' TERM; while :; do sleep 300; done", stop_timeout_s=0.5)
        with ExitStack() as stack:
            greedy = [stack.enter_context(Peer(place.socket)) for _ in range(100)]
            for client in greedy:
                with suppress(BrokenPipeError):
                    client.send("Events", {"follow": True}, more=True)
                    client.send("Logs", {"label": "a", "follow": True}, more=True)
            sockets = {client.socket: client for client in greedy}
            wait_for(lambda: len(select.select(sockets, [], [], 0)[0]) >= 80, what="those without a place are told")
            for one in select.select(sockets, [], [], 0)[0]:
                assert "try again when some have gone" in sockets[one].reply()["parameters"]["message"]
            begin, used = time.monotonic(), cpu_s(launcher)
            assert len(peer.call("Describe", {"label": "a"})["processes"]) == 3
            assert kinds(peer.call("Events", {"count": 1})["events"]) == ["job.started"]
            (outcome,) = peer.call("Stop", {"patterns": ["a"]})["outcomes"]
            assert (outcome["error"], outcome["job"]["state"]) == (None, "exited")
            assert cpu_s(launcher) - used < 0.5 * (time.monotonic() - begin) + 0.2
        peer.submit("b")
    wait_for(lambda: jobs(place)["b"]["state"] == "running", what="new clients are served")
    assert launcher_pid(place) == launcher


# Idle


def test_nothing_wakes_up_when_nothing_happens(host: Host) -> None:
    """[S24] Keeper and launcher with 50 jobs, a follower of events and one of output: not one switch in two seconds."""
    with Peer(host.socket) as peer, Peer(host.socket) as follower, Peer(host.socket) as reader:
        for number in range(50):
            peer.submit(f"a{number}", keep_alive=number % 2 == 0)
        status = peer.call("GetStatus")["status"]
        follower.send("Events", {"follow": True}, more=True)
        reader.send("Logs", {"label": "a0", "follow": True}, more=True)
        pids = [status["keeper_pid"], status["launcher_pid"]]

        def quiet(seconds: float) -> bool:
            before = [switches(pid) for pid in pids]
            signal.sigtimedwait([], seconds)
            return [switches(pid) for pid in pids] == before

        wait_for(lambda: quiet(2.0), timeout_s=30, what="two seconds without a switch")


def test_output_travels_as_it_is(host: Host) -> None:
    """[W1] Bytes that are no text, in base64."""
    with Peer(host.socket) as peer:
        peer.submit("a", "sh", "-c", r"printf 'a\377\000b\n'")
        peer.call("Wait", {"patterns": ["a"]})
        assert base64.b64decode(peer.call("Logs", {"label": "a"})["data"]) == b"a\xff\0b\n"
    with pytest.raises((HungUp, Refused)):
        call(host.socket, "Logs", {"label": "a", "follow": True})
