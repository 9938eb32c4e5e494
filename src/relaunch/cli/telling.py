"""How an event looks to a person: a line with the time, the host, and what happened in words.

Knows what each kind of event says. What comes from another host is shown so that it does nothing to a terminal, and
whatever it holds. Refuses to fetch or print anything.
"""

from __future__ import annotations

from relaunch.cli.render import command_line, length, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from relaunch.event import Event

    Wire = dict[str, Any]

_HOSTS_NAMED_MAX = 8
_LINE_CHARACTERS_MAX = 2_000
# What comes of an event of another version, or one that is made up.
_UNREADABLE = (TypeError, ValueError, LookupError, AttributeError, OverflowError)
_ENDS = {
    "exited": "exited",
    "crashed": "crashed",
    "stopped": "was stopped",
    "shutdown": "was ended by a shutdown",
    "unknown": "ended, nobody knows how",
}

_CAUSES = {
    "submit": "as submitted",
    "restart": "as somebody asked",
    "boot": "as the host has booted",
    "interval": "as its interval has passed",
    "calendar": "at a time of its calendar",
    "path": "as a path has changed",
    "socket": "as somebody calls",
    "condition": "as a condition holds",
    "keep-alive": "as it is kept alive",
    "successful-exit": "as it ended well",
    "unsuccessful-exit": "as it ended badly",
    "crash": "as it crashed",
    "no-crash": "as it did not crash",
}


def local_time(when: str) -> str:
    """The time on the clock of the one who reads; as it came where it cannot be read."""
    import datetime as dt

    try:
        return dt.datetime.fromisoformat(when).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    except ValueError:
        return when


def details(data: Wire) -> str:
    """What an event of the journal says beside its kind and label; nothing where that cannot be read."""
    try:
        return _details(data)
    except _UNREADABLE:
        return ""


def _details(data: Wire) -> str:
    words = []
    if data.get("pid"):
        words.append(f"pid {data['pid']}")
    forms = {"reason": "{}", "code": "code {}", "signal": "signal {}", "message": "{}", "why": "{}", "cause": "{}"}
    for name, form in forms.items():
        if data.get(name) is not None:
            words.append(form.format(data[name]))
    if data.get("for"):
        words.append(f"for {' '.join(data['for'])}")
    if data.get("after_s") is not None:
        words.append(f"after {data['after_s']:.1f} s")
    words += _given_up(data) + _restart(data)
    if data.get("argv") and not data.keys() & {"reason", "why"}:
        words.append(command_line(data["argv"]))
    return ", ".join(words)


def host_of(source: str) -> str:
    """The host in a source, ``//HOST/relaunch/UID``."""
    return source[2:].partition("/")[0] if source.startswith("//") else source


class Lines:
    """Events into lines; those of many hosts that came together into one line."""

    def __init__(self) -> None:
        self._groups: dict[object, list[Event]] = {}

    def take(self, event: Event) -> str:
        """The lines that can be shown now, one event more being known."""
        together = event.data.get("together")
        if not isinstance(together, int) or together < 2:
            return _line(event)
        key = str(event.data.get("group"))
        group = self._groups.setdefault(key, [])
        group.append(event)
        return _together(self._groups.pop(key)) if len(group) >= together else ""

    @property
    def waiting(self) -> bool:
        """Whether there is a group that is not complete."""
        return bool(self._groups)

    def rest(self) -> str:
        """The lines of groups that are not complete."""
        groups, self._groups = self._groups, {}
        return "".join(map(_together, groups.values()))


def _line(event: Event) -> str:
    try:
        words = _words(event)
    except _UNREADABLE:
        words = f"{event.kind} {event.label or ''}".rstrip()
    if event.redelivered:
        words += " (again)"
    return _shown(f"{_time(event)}  {host_of(event.source)}  {words}")


def _together(group: list[Event]) -> str:
    if len(group) == 1:
        return _line(group[0])
    names = [host_of(event.source) for event in group]
    named = ", ".join(names[:_HOSTS_NAMED_MAX])
    if len(names) > _HOSTS_NAMED_MAX:
        named += f" ... and {len(names) - _HOSTS_NAMED_MAX} more"
    silent_s = [event.data["silent_s"] for event in group if isinstance(event.data.get("silent_s"), int | float)]
    state = _HOST_WORDS.get(group[0].kind, group[0].kind)
    if silent_s and max(silent_s) > 0:
        state += f", not heard for {max(silent_s):.1f} s"
    return _shown(f"{_time(group[-1])}  {len(group)} hosts {state}: {named}")


def _shown(line: str) -> str:
    line = plain(line)
    return (line if len(line) <= _LINE_CHARACTERS_MAX else line[: _LINE_CHARACTERS_MAX - 1] + "…") + "\n"


def _time(event: Event) -> str:
    import time

    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at)) + f".{int(event.at * 1000) % 1000:03}"
    except (ValueError, OverflowError):
        return str(event.at)


def _words(event: Event) -> str:
    words = _WORDS.get(event.kind)
    if words is None:
        return ", ".join(filter(None, (f"{event.label or ''} {event.kind}".strip(), details(dict(event.data)))))
    return ", ".join(words(event.label or "", event.data))


def _restart(data: Any) -> list[str]:
    if data.get("restart_in_s") is None:
        return []
    return [f"starts again in {length(data['restart_in_s'])}" if data["restart_in_s"] else "starts again"]


def _given_up(data: Any) -> list[str]:
    if data.get("within_s") is None:
        return []
    return [f"started again {data['restarts']} times within {length(data['within_s'])}"]


def _failed(label: str, data: Any) -> list[str]:
    return [f"{label} has failed", *_given_up(data), "not started any more"]


def _starting(label: str, data: Any) -> list[str]:
    return [f"{label} is started", *([_CAUSES.get(data["cause"], str(data["cause"]))] if data.get("cause") else [])]


def _waiting(label: str, data: Any) -> list[str]:
    return [f"{label} waits for {' '.join(data.get('for') or ()) or 'what starts it'}"]


def _ready(words: str) -> Callable[[str, Any], list[str]]:
    def told(label: str, data: Any) -> list[str]:
        after = [f"after {data['after_s']:.1f} s"] if data.get("after_s") is not None else []
        return [f"{label} {words}", *after, *([f"pid {data['pid']}"] if data.get("pid") else [])]

    return told


def _exited(label: str, data: Any) -> list[str]:
    words = [f"{label} {_ENDS.get(data.get('reason'), 'ended')}"]
    if data.get("signal"):
        words.append(f"signal {data['signal']}" + (" (core dumped)" if data.get("core_dumped") else ""))
    if data.get("code") is not None:
        words.append(f"code {data['code']}")
    if data.get("pid"):
        words.append(f"pid {data['pid']}")
    if data.get("message"):
        words.append(str(data["message"]))
    return words + _restart(data)


def _start_failed(label: str, data: Any) -> list[str]:
    return [f"{label} could not be started", *([str(data["message"])] if data.get("message") else []), *_restart(data)]


def _launcher(what: str) -> Callable[[str, Any], list[str]]:
    return lambda _label, data: [what, *([f"pid {data['pid']}"] if data.get("pid") else [])]


def _restarted(_label: str, data: Any) -> list[str]:
    return _launcher("launcher was replaced" if data.get("died") is None else "launcher died and was started again")(
        "", data
    )


def _host(kind: str) -> Callable[[str, Any], list[str]]:
    def words(_label: str, data: Any) -> list[str]:
        silent_s = data.get("silent_s") or 0.0
        return [_HOST_WORDS[kind], *([f"not heard for {silent_s:.1f} s"] if silent_s else [])]

    return words


def _gap(_label: str, data: Any) -> list[str]:
    return [f"events {data['first']} to {data['last']} were compacted away before they could be told"]


def _reset(_label: str, _data: Any) -> list[str]:
    return ["the journal is another one; what the last one had yet to tell is lost"]


def _snapshot(_label: str, data: Any) -> list[str]:
    states: dict[str, int] = {}
    for job in data["jobs"]:
        states[job["state"]] = states.get(job["state"], 0) + 1
    return [f"jobs now: {', '.join(f'{count} {state}' for state, count in sorted(states.items())) or 'none'}"]


_HOST_WORDS = {
    "host.suspect": "suspected",
    "host.lost": "lost?",
    "host.back": "back",
    "host.withdrawn": "not suspected any more: the subscriber itself was late",
    "host.rebooted": "has rebooted",
}
_WORDS: dict[str, Callable[[str, Any], list[str]]] = {
    "job.exited": _exited,
    "job.start-failed": _start_failed,
    "job.failed": _failed,
    "job.starting": _starting,
    "job.waiting": _waiting,
    "job.ready": _ready("is ready"),
    "job.not-ready": _ready("is still not ready"),
    "job.unloaded": lambda label, _data: [f"{label} was unloaded"],
    "launcher.started": _launcher("launcher started"),
    "launcher.restarted": _restarted,
    "launcher.stopped": _launcher("launcher is ending"),
    "launcher.lost": _launcher("launcher has ended"),
    "stream.gap": _gap,
    "stream.reset": _reset,
    "stream.snapshot": _snapshot,
    **{kind: _host(kind) for kind in _HOST_WORDS},
}
