"""A subscriber's command in a test, and what it has printed so far; jobs by the hundred for it to hear of."""

import asyncio
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.system.launcher_host import Host, wait_for

import relaunch


class Told:
    """``launch subscribe --json`` and its events.

    Args:
        host: Whose environment it runs in.
        options: What follows ``launch subscribe --json``.
        launcher: Whose launcher it asks, ``host`` itself where None.
    """

    def __init__(self, host: Host, *options: str, launcher: Host | None = None) -> None:
        env = host.env | {"XDG_RUNTIME_DIR": (launcher or host).env["XDG_RUNTIME_DIR"]}
        self.process = host.popen("subscribe", "--json", *options, env=env)
        self.events: list[dict[str, Any]] = []
        self.said: list[str] = []
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._listen)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)

    def ready(self) -> "Told":
        """Wait until it says where it listens, or that it follows."""
        wait_for(lambda: self.said or self.process.poll() is not None, what="the subscriber")
        assert self.process.poll() is None, self.said
        return self

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of a kind."""
        return [event for event in self.events if event["type"] == f"io.relaunch.{kind}"]

    def wait_for(self, kind: str, count: int, timeout_s: float = 60.0) -> list[dict[str, Any]]:
        """Wait until so many events of a kind are there."""
        wait_for(lambda: len(self.of(kind)) >= count, timeout_s, f"{count} of {kind}, not {len(self.of(kind))}")
        return self.of(kind)

    def end(self, number: int = signal.SIGINT) -> int:
        """End it and read what it still says; gives its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(30)
        for thread in self._threads:
            thread.join()
        return status


def start(host: Host, count: int, prefix: str = "burst") -> dict[str, int]:
    """Start so many jobs; gives their pids by label."""

    async def submit() -> dict[str, int]:
        async with relaunch.connect(str(host.socket)) as launcher:
            argv = ["sleep", "1000"]
            jobs = await asyncio.gather(*(launcher.submit(f"{prefix}/{n}", argv) for n in range(count)))
            pids = {job.label: job.pid for job in jobs if job.pid is not None}
            assert len(pids) == count
            return pids

    return asyncio.run(submit())


def kill(pids: Sequence[int]) -> None:
    """SIGKILL them all."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def check_once(told: Sequence[dict[str, Any]], labels: Sequence[str]) -> None:
    """Each label was told once, in the order of the journal; again only what is marked so."""
    heard = Counter(event["subject"] for event in told if not event.get("redelivered"))
    again = [event for event in told if event.get("redelivered")]
    heard_at_all = set(heard) | {event["subject"] for event in again}
    assert heard_at_all == set(labels), (sorted(set(labels) - heard_at_all)[:5], len(heard_at_all))
    assert max(heard.values()) == 1, heard.most_common(3)
    places = [event["id"].partition("/") for event in told if not event.get("redelivered")]
    sequences = [int(sequence) for _, _, sequence in places]
    assert sequences == sorted(sequences)
