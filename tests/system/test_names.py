"""Hosts are looked up without anybody waiting for a name server but who asked for that name."""

import asyncio
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from relaunch.transport.address import Address
from relaunch.transport.names import LOOK_UPS_MAX, look_up

DEADLINE_S = 10.0
_ANSWER: Any = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("192.0.2.1", 9000))]


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A name server that answers for numbers and ``sound``; for any other name it waits until this is set."""
    answers, real = threading.Event(), socket.getaddrinfo

    def ask(host: str, *rest: Any, **more: Any) -> Any:
        if host == "sound":
            if more.get("flags"):
                raise socket.gaierror(socket.EAI_NONAME, "no number")
            return _ANSWER
        if more.get("flags") or not host.startswith("dead"):
            return real(host, *rest, **more)
        answers.wait(DEADLINE_S)
        return _ANSWER

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    return answers


def test_names_without_an_answer_hold_up_no_others(silent: threading.Event) -> None:
    """[D18] However many there are, and who asks twice for one takes no second place."""

    async def ask() -> None:
        dead = [
            asyncio.create_task(look_up(Address(f"dead{n}", 9000), socket.SOCK_STREAM))
            for n in range(LOOK_UPS_MAX - 1)
            for _ in range(2)
        ]
        await asyncio.sleep(0)
        async with asyncio.timeout(DEADLINE_S / 2):
            assert (await look_up(Address("127.0.0.1", 9000), socket.SOCK_STREAM))[0][1] == ("127.0.0.1", 9000)
            assert (await look_up(Address("::1", 9000), socket.SOCK_DGRAM))[0][1][:2] == ("::1", 9000)
            assert await look_up(Address("sound", 9000), socket.SOCK_STREAM) == [(socket.AF_INET, ("192.0.2.1", 9000))]
            assert await asyncio.to_thread(lambda: True), "other threads are free"
        dead.append(asyncio.create_task(look_up(Address("dead", 9000), socket.SOCK_STREAM)))
        await asyncio.sleep(0)
        with pytest.raises(OSError, match="too many other names"):
            await look_up(Address("dead-too", 9000), socket.SOCK_STREAM)
        dead[0].cancel()
        silent.set()
        found = await asyncio.gather(*dead, return_exceptions=True)
        assert isinstance(found.pop(0), asyncio.CancelledError)
        assert all(one == [(socket.AF_INET, ("192.0.2.1", 9000))] for one in found)

    asyncio.run(ask())


def test_what_is_no_name_is_refused() -> None:
    """[D34]"""
    for name in ("a" * 64, "no such host"):
        with pytest.raises(OSError, match=r".+"):
            asyncio.run(look_up(Address(name, 9000), socket.SOCK_STREAM))


def test_a_process_ends_without_waiting_for_a_name() -> None:
    """[D19]"""
    program = """
import asyncio, socket, threading
from relaunch.transport.address import Address
from relaunch.transport.names import look_up
real = socket.getaddrinfo
def ask(host, *rest, flags=0, **more):
    return real(host, *rest, flags=flags, **more) if flags else threading.Event().wait(60)
socket.getaddrinfo = ask
async def main():
    try:
        async with asyncio.timeout(0.1):
            await look_up(Address("dead", 9000), socket.SOCK_STREAM)
    except TimeoutError:
        print("given up")
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "given up\n", "")
