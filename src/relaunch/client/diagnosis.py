"""What there is to find out about another host: each step of the way there, and what that host finds of itself.

Knows which steps there are, and what the failure of one says of those before it. The host itself runs ``launch doctor
--answer``: it answers lines with messages. Refuses to know what a host looks at, and how it is shown.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from relaunch import __version__
from relaunch.client import ssh_command
from relaunch.client.finding import Finding, fail, ok, warn
from relaunch.client.masters import Master
from relaunch.client.ssh import connect_host
from relaunch.client.ssh_bridge import Bridge, EndedSilently
from relaunch.client.ssh_failures import failure
from relaunch.client.versions import compatible
from relaunch.errors import (
    HostKeyRefused,
    HostUnreachable,
    NotAuthenticated,
    ProtocolBroken,
    RelaunchError,
    TimedOut,
    Unreachable,
)

ANSWER_S = 20.0
CLOCK_ASKS = 5
CLOCK_S_MAX = 1.0
Ask = Callable[[dict[str, Any]], Any]


async def diagnose(host: str, port: str | None, kinds: list[str], *, timeout_s: float) -> list[Finding]:
    """Find out all there is about a host, in the order in which one thing needs the other.

    Args:
        host: Checked already.
        port: The address of ours that it is to reach; None where there is none.
        kinds: Over what that is answered.
        timeout_s: How long connecting may take.
    """
    try:
        async with asyncio.timeout(timeout_s):
            bridge, greeting = await _start(host, timeout_s)
    except TimeoutError:
        return _unreached(TimedOut(f"{host}: no answer within {timeout_s:g} seconds"), host)
    except Unreachable as error:
        return _unreached(error, host)
    way = _reached(greeting)
    if any(one.level == "fail" for one in way):
        await bridge.kill(with_children=True)
        return way
    try:
        async with asyncio.timeout(ANSWER_S):
            found = await _asked(bridge, port, kinds)
    except (TimeoutError, Unreachable, KeyError, TypeError, ValueError) as error:
        text = _without(host, str(error)) or f"no answer within {ANSWER_S:g} seconds"
        return [*way, fail("launch", f"doctor did not answer there: {text}", _look(host))]
    finally:
        await bridge.kill(with_children=True)
    way += found
    runs = any(one.check == "launcher" and one.data for one in way)
    way.append(await _forward(host, timeout_s) if runs else warn("forward", "not known while no launcher runs there"))
    return _in_order(way)


async def _start(host: str, timeout_s: float) -> tuple[Bridge, dict[str, Any]]:
    bridge = Bridge.start(host, ssh_command.doctor(host, timeout_s), prompts=False)
    try:
        greeting, _ = await bridge.greeting()
    except EndedSilently as ended:
        raise failure(host, ended.status, ended.said, prompts=False) from None
    except BaseException:
        await bridge.kill(with_children=True)
        raise
    return bridge, greeting


def _unreached(error: Unreachable, host: str) -> list[Finding]:
    """What a failure on the way there says of each step of it."""
    text, _, advice = _without(host, error.message).partition("; ")
    advice = advice or _look(host)
    answers, logs_in = ok("ssh", "it answers"), ok("login", "without a prompt")
    match error:
        case HostUnreachable() | TimedOut():
            return [
                fail("ssh", text, f"see that it is up, that sshd runs, and that nothing is in the way: ssh -v {host}")
            ]
        case HostKeyRefused():
            return [fail("ssh", text, advice)]
        case NotAuthenticated():
            return [answers, fail("login", text, advice)]
        case _:
            return [answers, logs_in, fail("launch", text, advice)]


def _reached(greeting: dict[str, Any]) -> list[Finding]:
    version = str(greeting["relaunch"])
    way = [ok("ssh", "it answers"), ok("login", "without a prompt")]
    data = {"version": version, "host": greeting.get("host"), "client": greeting.get("client")}
    if version == __version__:
        return [*way, ok("launch", f"version {version}", **data)]
    text = f"its version is {version}, and this one {__version__}"
    if compatible(version):
        return [*way, warn("launch", text, "install the same version everywhere", **data)]
    return [*way, fail("launch", text, "install this version there", **data)]


async def _asked(bridge: Bridge, port: str | None, kinds: list[str]) -> list[Finding]:
    found = [await _clock(bridge)]
    if port is not None:
        found += _findings(await bridge.ask({"ask": "reach", "address": port, "kinds": kinds}))
    facts = _findings(await bridge.ask({"ask": "facts"}))
    # The way there has told of it already.
    return [*found, *(one for one in facts if one.check != "launch")]


def _findings(answer: dict[str, Any]) -> list[Finding]:
    if "error" in answer:
        raise ProtocolBroken(str(answer["error"]))
    return [Finding.from_wire(one) for one in answer["findings"]]


async def _clock(bridge: Bridge) -> Finding:
    """How far its clock is ahead of ours: in the middle of the shortest round trip, give or take half of that."""
    best = (float("inf"), 0.0)
    for _ in range(CLOCK_ASKS):
        sent, begin = time.time(), time.monotonic()
        there = float((await bridge.ask({"ask": "clock"}))["time"])
        trip = time.monotonic() - begin
        best = min(best, (trip, there - sent - trip / 2))
    trip, ahead = best
    data = {"ahead_s": ahead, "bound_s": trip / 2, "round_trip_s": trip}
    if abs(ahead) - trip / 2 > CLOCK_S_MAX:
        way = "ahead of" if ahead > 0 else "behind"
        return warn("clock", f"{abs(ahead):.1f} seconds {way} this one's", "have both set by NTP", **data)
    return ok("clock", f"within {CLOCK_S_MAX:g} s of this one's", **data)


async def _forward(host: str, timeout_s: float) -> Finding:
    """Whether sockets may be forwarded; found out as every request does, over the connection that stays."""
    slower = (
        "each request runs `launch bridge` there, some 100 ms more; allow AllowStreamLocalForwarding in its sshd_config"
    )
    try:
        async with connect_host(host, timeout_s=timeout_s) as connection:
            if connection.how == "bridge":
                await connection.settled()
        record = Master.of(host).read()
    except RelaunchError as error:
        text, _, advice = _without(host, error.message).partition("; ")
        return fail("forward", text, advice or _look(host))
    if record is not None and record.how == "forward":
        return ok("forward", "sockets are forwarded")
    return warn("forward", "sockets are not forwarded", slower)


_ORDER = ("ssh", "login", "launch", "launcher", "forward", "port", "logout", "clock")


def _in_order(found: list[Finding]) -> list[Finding]:
    return sorted(found, key=lambda one: _ORDER.index(one.check) if one.check in _ORDER else len(_ORDER))


def _without(host: str, message: str) -> str:
    return message.removeprefix(f"{host}: ")


def _look(host: str) -> str:
    return f"look at it with: ssh {host} launch doctor"
