"""``launch doctor``: what works and what does not, here or on other hosts, and what to do about it.

Knows how findings are gathered from many hosts and shown, equal ones together. Refuses to know what is looked at
(``checks``, ``reach``, and ``relaunch.client.diagnosis`` for the way to a host).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import replace

from relaunch.cli.checks import SERVE, findings
from relaunch.cli.output import write
from relaunch.cli.over import own_hosts
from relaunch.cli.reach import Answering, reach
from relaunch.client.calls import FANOUT
from relaunch.client.nodesets import fold
from relaunch.client.ssh_command import TIMEOUT_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from relaunch.cli.grammar import Arguments
    from relaunch.client.finding import Finding

    Found = dict[str, list[Finding]]

HERE = "here"
_MARKS = {"ok": "ok", "warn": "warn", "fail": "FAIL"}


def run(arguments: Arguments) -> int:
    """Look, and tell; 0 where nothing fails."""
    if arguments["answer"]:
        return _answer()
    hosts = own_hosts(arguments)
    # Sockets and ssh are pipes too, whose ends are no reason to die silently.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        found = asyncio.run(_look(hosts, arguments["port"], tells=arguments["json"]))
    finally:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if not arguments["json"]:
        write(_shown(found))
    return 1 if any(one.level == "fail" for all_found in found.values() for one in all_found) else 0


async def _look(hosts: list[str], port: str | None, *, tells: bool) -> Found:
    """What every host is found to be, told as it comes where that is asked for; without hosts, this one."""
    from relaunch.client.diagnosis import diagnose
    from relaunch.transport.address import parse_address

    found: Found = {}
    limit = asyncio.Semaphore(FANOUT)

    async def one(host: str, kinds: list[str]) -> None:
        async with limit:
            if host == HERE and not hosts:
                found[host] = await asyncio.to_thread(_here, port, kinds)
            else:
                looked = await diagnose(host, port, kinds, timeout_s=TIMEOUT_S)
                found[host] = [_from_here(finding, host) for finding in looked]
            if tells:
                write(json.dumps({"host": host, "findings": [finding.to_wire() for finding in found[host]]}) + "\n")

    if port is None:
        await asyncio.gather(*(one(host, []) for host in hosts or [HERE]))
    else:
        async with Answering(parse_address(port)) as answering:
            await asyncio.gather(*(one(host, answering.kinds) for host in hosts or [HERE]))
    return {host: found[host] for host in hosts or [HERE]}


def _here(port: str | None, kinds: list[str]) -> list[Finding]:
    looked = list(findings())
    return looked if port is None else [*looked, reach(port, "", kinds)]


def _shown(found: Found) -> str:
    """A line for each finding; hosts of which the same is found share one."""
    order: dict[tuple[str, str, str, str], list[str]] = {}
    checks: dict[str, None] = {}
    for host, looked in found.items():
        for one in looked:
            checks[one.check] = None
            key = one.check, one.level, _general(one.text, host), _general(one.advice, host)
            order.setdefault(key, []).append(host)
    rows = []
    for check in checks:
        for (name, level, *words), hosts in order.items():
            if name == check:
                line = "; ".join(word for word in words if word)
                line = (
                    line.replace("HOST", hosts[0]) if len(hosts) == 1 else line.replace("-H HOST", f"-H {fold(hosts)}")
                )
                rows.append((_MARKS[level], check, "" if hosts == [HERE] else f"{fold(hosts)}: ", line))
    width = max(len(check) for check in checks)
    return "".join(f"{mark:4}  {check:{width}}  {where}{line}\n" for mark, check, where, line in rows)


def _general(text: str, host: str) -> str:
    """The text without the host's own name, which others would have another in the place of."""
    for before in ("ssh", "ssh -v", "-H"):
        text = text.replace(f"{before} {host}", f"{before} HOST")
    return text


def _from_here(finding: Finding, host: str) -> Finding:
    """What a host has found of itself, with what is to be done about it said as it is typed here."""
    return replace(finding, advice=finding.advice.replace(SERVE, f"launch -H {host} serve"))


def _answer() -> int:
    """Be the far end: say who this is, then answer each line with a message."""
    from relaunch import __version__

    # "CLIENT PORT SERVER PORT", see ssh(1).
    client = os.environ.get("SSH_CONNECTION", "").partition(" ")[0]
    _say({"relaunch": __version__, "host": os.uname().nodename, "client": client or None})
    for line in sys.stdin.buffer:
        try:
            question = json.loads(line)
            _say(_answered(question, client))
        except (ValueError, KeyError, TypeError) as error:
            _say({"error": f"not understood: {error!r}"})
    return 0


def _answered(question: dict[str, Any], client: str) -> dict[str, Any]:
    match question["ask"]:
        case "clock":
            return {"time": time.time()}
        case "reach":
            return {"findings": [reach(question["address"], client, question["kinds"]).to_wire()]}
        case "facts":
            return {"findings": [one.to_wire() for one in findings()]}
        case other:
            raise ValueError(other)


def _say(message: dict[str, Any]) -> None:
    write(json.dumps(message) + "\0")
