"""Readable traces of one job's life, reviewed as diffs.

Each `*.txt` here is a few lines of prose and then commands, each with what it brings about below it. The commands are
carried out anew, and must bring about exactly that. `SCENARIOS_WRITE=1 pytest tests/scenarios` writes the files anew.

    submit [held] [field=value ...]                 a spec as on the wire; held: what it depends on is not ready
    spawned pid=N [adopted]                         what the keeper tells
    failed "why"
    exited status=N|code=N|signal=NAME|unknown [leftover] [rebooted]
    gone                                            nothing of the tree is left
    stop [SIGNAL] [grace=S|forever]                 what a user asks for
    restart [grace=S|forever]
    shutdown
    ready                                           it has shown that it is ready
    trigger CAUSE                                   a time, a path or a socket has it started
    conditions [hold] [held]                        one has it kept alive; a job that it depends on is not ready
    tick                                            the timer rings
    +S                                              S seconds pass; the timer rings whenever it is due
    crash                                           the launcher dies; the next one reads the journal
    reboot                                          likewise, and the clock begins anew
    booted                                          what is said then of jobs that nothing runs of

Below a command stands each effect, in order, then the state with its data and the deadline.
"""

import json
import os
import runpy
import shlex
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from relaunch.core import supervision as core
from relaunch.core.document import from_document, to_document
from relaunch.core.job import (
    Ask,
    BecameReady,
    Booted,
    Conditions,
    Effect,
    Event,
    Exited,
    Job,
    Record,
    RestartAsked,
    SignalTree,
    Spawn,
    Spawned,
    SpawnFailed,
    Step,
    StopAsked,
    Tick,
    TreeGone,
    Triggered,
)
from relaunch.fields import signal_name, signal_number
from relaunch.launcher.recovery import from_before_boot
from relaunch.model import Exit, JobSpec

HERE = Path(__file__).parent
TOLD = (
    "pid",
    "after_s",
    "cause",
    "for",
    "restarts",
    "within_s",
    "why",
    "restart",
    "reason",
    "code",
    "signal",
    "message",
    "expected",
    "restart_in_s",
)


class Trace:
    """Carries commands out on one job, and tells what came of each."""

    def __init__(self) -> None:
        self.now = 0.0
        self.job: Job | None = None

    def carry_out(self, command: str) -> Iterator[str]:
        """Gives the lines that stand below this command."""
        verb, *words = shlex.split(command)
        if verb == "submit":
            held = "held" in words
            said = {name: json.loads(text) for name, text in map(pair, words) if text}
            spec = JobSpec.from_wire({"label": "job", "argv": ["program"], **said})
            self.job, effects = core.submit("id", spec, now=self.now, at=self.now, held=held)
            yield from map(told, effects)
        elif verb.startswith("+"):
            yield from self._pass(float(verb[1:]))
        elif verb in ("crash", "reboot"):
            self.job = from_document(json.loads(json.dumps(to_document(self._there))))
            if verb == "reboot":
                self.now = 0.0
                self.job = from_before_boot(self.job, self.now)
        else:
            yield from self._apply(event_of(verb, words, self._there.spec))
        yield shown(self._there)

    @property
    def _there(self) -> Job:
        assert self.job is not None, "a scenario begins with submit"
        return self.job

    def _apply(self, event: Event) -> Iterator[str]:
        self.job, effects = core.transition(self._there, event, self.now, self.now)
        yield from map(told, effects)

    def _pass(self, seconds: float) -> Iterator[str]:
        until = self.now + seconds
        while (at := core.deadline(self._there)) is not None and at <= until:
            self.now = max(self.now, at)
            yield f"at {self.now:g}"
            yield from self._apply(Tick())
        self.now = until


def pair(word: str) -> tuple[str, str]:
    name, _, text = word.partition("=")
    return name, text


def event_of(verb: str, words: list[str], spec: JobSpec) -> Event:
    options = dict(map(pair, words))
    match verb:
        case "spawned":
            return Spawned(int(options["pid"]), 1, "adopted" in options)
        case "failed":
            return SpawnFailed(Exit(reason="start-failed", message=words[0]))
        case "exited":
            return Exited(None, status_of(options), 0.0, None, "leftover" in options, "rebooted" in options)
        case "gone" | "ready" | "booted" | "tick":
            bare: dict[str, Event] = {
                "gone": TreeGone(),
                "ready": BecameReady(),
                "booted": Booted(),
                "tick": Tick(),
            }
            return bare[verb]
        case "trigger":
            return Triggered(words[0])
        case "conditions":
            return Conditions("hold" in options, "held" in options)
        case "stop" | "restart" | "shutdown":
            named = [word for word in words if "=" not in word and word != "forever"]
            grace_s = None if "forever" in options else float(options.get("grace", spec.stop_timeout_s))
            number = signal_number(named[0]) if named else spec.stop_signal_number
            ask = Ask(number, grace_s, "shutdown" if verb == "shutdown" else "stopped", verb == "restart")
            return RestartAsked(ask) if ask.restart else StopAsked(ask)
    raise AssertionError(f"no command is called {verb!r}")


def status_of(options: dict[str, str]) -> int | None:
    if "code" in options:
        return int(options["code"]) << 8
    if "signal" in options:
        return signal_number(options["signal"])
    return None if "unknown" in options else int(options["status"])


def told(effect: Effect) -> str:
    match effect:
        case Spawn(run=run):
            return f"spawn run {run}"
        case SignalTree(signal=number):
            return f"signal tree {signal_name(number)}"
        case Record(kind=kind, data=data):
            return " ".join([f"record {kind}", *(f"{k}={plain(data[k])}" for k in TOLD if data.get(k) is not None)])


def shown(job: Job) -> str:
    parts = [
        f"{part.name}={plain(getattr(job.state, part.name))}"
        for part in fields(job.state)
        if part.name != "ticks" and getattr(job.state, part.name) != part.default
    ]
    at = core.deadline(job)
    words = [f"-> {type(job.state).__name__}({', '.join(parts)})", f"run {job.run}"]
    return " ".join(words + ["adopted"] * job.adopted + ([f"deadline {at:g}"] if at is not None else []))


def plain(value: Any) -> str:
    if isinstance(value, Ask):
        grace = "forever" if value.grace_s is None else f"{value.grace_s:g}s"
        return " ".join([signal_name(value.signal), grace, value.why] + ["restart"] * value.restart)
    if isinstance(value, list):
        return ",".join(value) or "nothing"
    if isinstance(value, str) and " " in value:
        return json.dumps(value)
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def replayed(text: str) -> str:
    """The scenario with what its commands bring about now."""
    prose, _, body = text.partition("\n\n")
    trace = Trace()
    lines = [prose, ""]
    for line in body.splitlines():
        if line and not line.startswith(" "):
            lines += [line, *(f"  {outcome}" for outcome in trace.carry_out(line))]
    return "\n".join(lines) + "\n"


SCENARIOS = sorted(HERE.glob("*.txt"))
DIAGRAM = runpy.run_path(str(HERE.parents[1] / "scripts" / "draw-states"))
EVENT_WORDS: dict[type[Event], Callable[[Any], str]] = {
    Spawned: lambda _: "spawned",
    SpawnFailed: lambda _: "failed",
    Exited: lambda event: "exited, leftover" if event.leftover else "exited",
    TreeGone: lambda _: "gone",
    StopAsked: lambda _: "stop",
    RestartAsked: lambda _: "restart",
    BecameReady: lambda _: "ready",
    Triggered: lambda _: "trigger",
    Conditions: lambda _: "conditions",
    Booted: lambda _: "booted",
    Tick: lambda _: "tick",
}


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    """[S4] [S5] [S7] [S8] [S9] [S13] As each file says at its top."""
    text = path.read_text("utf-8")
    now = replayed(text)
    if os.environ.get("SCENARIOS_WRITE"):
        path.write_text(now, "utf-8")
    assert os.environ.get("SCENARIOS_WRITE") or now == text


def test_the_scenarios_take_every_edge_of_the_diagram(monkeypatch: pytest.MonkeyPatch) -> None:
    """[S1] Each arrow of docs/job-states.md, for each event at it."""
    taken: set[tuple[str, str, str]] = set()

    def transition(job: Job, event: Event, now: float, at: float) -> Step:
        after, effects = follows(job, event, now, at)
        taken.add((DIAGRAM["word"](job), EVENT_WORDS[type(event)](event), DIAGRAM["word"](after)))
        return after, effects

    follows = core.transition
    edges = {edge for edge in DIAGRAM["explored"]() if edge[0] != "[*]"}
    monkeypatch.setattr(core, "transition", transition)
    for path in SCENARIOS:
        replayed(path.read_text("utf-8"))
    assert not edges - taken
