"""How values look to a person: tables, lengths of time, command lines, ends of jobs.

Knows the interface's Job as it comes over the wire. Refuses to fetch or print anything.
"""

from __future__ import annotations

import os
import time

from relaunch.errors import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    Wire = dict[str, Any]

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%+,-./:=@_")
_COLOURS = {"running": "32", "ready": "32", "failed": "31", "backoff": "33", "stopping": "33", "ending": "33"}
_JOB_HEAD = ("LABEL", "STATE", "PID", "UPTIME", "RESTARTS", "LAST EXIT", "PROGRAM")
_STATE_COLUMN = 1
_SUBSCRIPTION_HEAD = ("ID", "NAME", "ADDRESS", "TRANSPORT", "STATE", "BEHIND", "FILTER", "LAST ERROR")


def quote(word: str) -> str:
    """A word as a shell would take it, safe to show on any terminal."""
    if word and _PLAIN.issuperset(word):
        return word
    if word.isprintable():
        return "'" + word.replace("'", "'\\''") + "'"
    shown = "".join(c if c.isprintable() and c not in "'\\" else _escaped(c) for c in word)
    return f"$'{shown}'"


def _escaped(c: str) -> str:
    if "\udc80" <= c <= "\udcff":
        return f"\\x{ord(c) - 0xDC00:02x}"
    if c in "\n\t\r'\\":
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(c, "\\" + c)
    return f"\\x{ord(c):02x}" if ord(c) < 0x80 else f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"


def plain(text: str) -> str:
    """A text that is one line, and does nothing to any terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def command_line(argv: Iterable[str]) -> str:
    """A command line that a shell would part into the same words."""
    return " ".join(map(quote, argv))


def length(seconds: float | None) -> str:
    """A length of time in its two largest units: ``45s``, ``3m12s``, ``2d7h``."""
    if seconds is None:
        return "-"
    whole = max(0, int(seconds))
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{whole % 60}s" if minutes else f"{whole}s"


def end(exit: Wire | None) -> str:  # noqa: A002 - the word of the interface
    """How a run ended, in few words: ``0``, ``code 3``, ``TERM``, ``SEGV (core dumped)``, ``start-failed``."""
    if not exit:
        return "-"
    if exit.get("signal"):
        return f"{exit['signal']} (core dumped)" if exit.get("core_dumped") else str(exit["signal"])
    if exit.get("code") is not None:
        return f"code {exit['code']}"
    return str(exit["reason"])


def state(job: Wire) -> str:
    """A job's state in a sentence: ``running, pid 12``, ``exited, code 3``, ``failed: no such program``."""
    if job["state"] == "backoff":
        last = f"last {end(job['exit'])}, " if job.get("exit") else ""
        return f"backoff, {last}starts again in {length(job.get('retry_in_s'))}"
    if job.get("pid"):
        return f"{job['state']}, pid {job['pid']}"
    if job["state"] == "failed":
        ended = job.get("exit") or {}
        if ended.get("reason") not in (None, "start-failed"):
            return f"failed, {end(ended)}, and was started again too often"
        return f"failed: {ended.get('message') or 'it could not be started'}"
    if job["state"] == "waiting":
        last = f", last {end(job['exit'])}" if job.get("exit") else ""
        return f"waiting for {' '.join(job.get('waits_for') or ()) or 'what starts it'}{last}"
    return ", ".join((job["state"], *([_last(job)] if job.get("exit") or job.get("stopped") else [])))


def _last(job: Wire) -> str:
    """How a job's last run ended, and whether it was stopped when nothing of it ran."""
    ended = job.get("exit")
    if not job.get("stopped") or (ended and ended["reason"] == "stopped"):
        return end(ended)
    return f"{end(ended)}, stopped" if ended else "stopped"


def jobs_table(jobs: Sequence[Wire], *, terminal: bool, hosts: Sequence[str] | None = None) -> str:
    """Jobs, one on a line under a head; on a terminal with colour and no line broken.

    Args:
        jobs: As they came over the wire.
        terminal: Whether it is for one.
        hosts: Where each job is, for a column of its own.
    """
    head: tuple[str, ...] = _JOB_HEAD
    rows, state_column = [_row(job) for job in jobs], _STATE_COLUMN
    if hosts is not None:
        head = ("HOST", *head)
        rows = [(host, *row) for host, row in zip(hosts, rows, strict=True)]
        state_column += 1
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    columns = os.get_terminal_size(1).columns if terminal else 0
    colour = terminal and not os.environ.get("NO_COLOR")
    lines = []
    for row in (head, *rows):
        last = row[-1]
        room = columns - sum(widths[:-1]) - 2 * (len(widths) - 1)
        if terminal and len(last) > room > 1:
            last = last[: room - 1] + "…"
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        if colour and row[state_column] in _COLOURS:
            cells[state_column] = f"\x1b[{_COLOURS[row[state_column]]}m{cells[state_column]}\x1b[0m"
        lines.append("  ".join((*cells, last)).rstrip())
    return "\n".join(lines) + "\n"


def _row(job: Wire) -> tuple[str, ...]:
    cells = (
        job["label"],
        job["state"],
        str(job.get("pid") or "-"),
        _running_since(job),
        str(job["restarts"]),
        _last(job),
        command_line(job["argv"]),
    )
    return tuple(map(plain, cells))


def _running_since(job: Wire) -> str:
    """How long it has been up; of one that is not, how long until it is, where that is known."""
    left_s, at = job.get("retry_in_s"), job.get("next_start_at")
    if left_s is None and at is not None:
        left_s = at - time.time()
    return length(job.get("uptime_s")) if left_s is None else f"in {length(left_s)}"


def subscriptions_table(subscriptions: Sequence[Wire], *, hosts: Sequence[str] | None = None) -> str:
    """Subscriptions, one on a line under a head; with hosts, in a column of its own where each is."""
    rows = [_subscription_row(one) for one in subscriptions]
    if hosts is None:
        return table(_SUBSCRIPTION_HEAD, rows)
    return table(("HOST", *_SUBSCRIPTION_HEAD), [(host, *row) for host, row in zip(hosts, rows, strict=True)])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under a head, in columns."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
        for row in (head, *rows)
    ]
    return "".join(lines)


def _subscription_row(one: Wire) -> tuple[str, ...]:
    chosen = [*one["patterns"], *(f"kind={kind}" for kind in one["kinds"])]
    cells = (
        one["id"],
        one.get("name") or "-",
        one["address"],
        one["transport"],
        subscription_state(one),
        "-" if one.get("behind") is None else str(one["behind"]),
        " ".join(chosen) or "-",
        one.get("error") or "-",
    )
    return tuple(plain(str(cell)) for cell in cells)


def subscription_state(one: Wire) -> str:
    """A subscription's state in few words: ``connected``, ``connecting, not reached for 5m12s``."""
    if one["state"] != "connected" and one.get("unreachable_s"):
        return f"{one['state']}, not reached for {length(one['unreachable_s'])}"
    return str(one["state"])


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values, one pair on a line, aligned; what is None is left out."""
    shown = [(name, one_line(str(value))) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    return "".join(f"{name:{width}}  {value}\n" for name, value in shown)


def moment(at: float | None) -> str | None:
    """A time on the clock of the one who reads, to the second."""
    if at is None:
        return None
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
