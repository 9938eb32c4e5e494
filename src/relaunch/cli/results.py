"""What many hosts answered: to a person once, what is the same for many in one line; to a program as it comes.

Knows lines, how they are folded, and the exit status of all. Refuses to know what was asked.
"""

from __future__ import annotations

import os

from relaunch.cli.output import STDERR, encoded, say, write
from relaunch.errors import NoLauncher, PartialFailure, RelaunchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from relaunch.cli.over import Over

PROGRESS_AFTER_S = 0.5
_NAMED_MAX = 3
# What may stand around a host's name in a message.
_AROUND = "`'\"(),;:"
# Where a line names all the hosts that it is about.
_HOSTS_MARK = "\0"
_CLEAR = "\r\x1b[K"


class Line:
    """One line about a host.

    Attributes:
        text: What it says of this host alone.
        folded: What it says of many hosts together.
        wrong: Whether it tells of a failure, and goes to standard error.
    """

    __slots__ = ("folded", "text", "wrong")

    def __init__(self, text: str, folded: str | None = None, *, wrong: bool = False) -> None:
        self.text = text
        self.folded = text if folded is None else folded
        self.wrong = wrong


class Told:
    """What is to be told of one host: its lines, and the exit status of a command for it alone."""

    __slots__ = ("lines", "status")

    def __init__(self, lines: Sequence[Line] = (), status: int = 0) -> None:
        self.lines = lines
        self.status = status


class Results:
    """Takes each host's answer, and tells of all when the last has come.

    Args:
        over: The hosts.
        tell: What is to be told of an answer that is no error.
        show: Shows all answers that are no errors at once, where lines are not the way: by host, in the hosts' order.
        as_json: Whether a program reads it: each answer is written as it comes.
        value: What of an answer goes into JSON; all of it unless told otherwise.
    """

    def __init__(
        self,
        over: Over,
        tell: Callable[[str, Any], Told],
        *,
        show: Callable[[dict[str, Any]], None] | None = None,
        as_json: bool = False,
        value: Callable[[Any], Any] | None = None,
    ) -> None:
        self._over = over
        self._tell = tell
        self._show = show
        self._as_json = as_json
        self._value = value
        self._answers: dict[str, Any] = {}
        self._progress = Progress(over.hosts)

    def took(self, host: str, answer: Any) -> None:
        """Take one host's answer, an error as a value."""
        self._answers[host] = answer
        self._progress.took(host)
        if self._as_json:
            write(json_line(host, answer, self._value))
        if len(self._answers) == len(self._over.hosts):
            self._progress.end()
            if not self._as_json:
                self._show_all()

    @property
    def answers(self) -> dict[str, Any]:
        """Each host's answer, in the hosts' order."""
        return {host: self._answers[host] for host in self._over.hosts if host in self._answers}

    @property
    def status(self) -> int:
        """The exit status: where all hosts are alike, theirs; else that of a failure in part."""
        return status_of_all([self._told(host, answer).status for host, answer in self.answers.items()])

    def _told(self, host: str, answer: Any) -> Told:
        return told_of_failure(host, answer) if isinstance(answer, RelaunchError) else self._tell(host, answer)

    def _show_all(self) -> None:
        well = {host: one for host, one in self.answers.items() if not isinstance(one, RelaunchError)}
        if self._show is not None and well:
            self._show(well)
        tell_folded({host: self._told(host, answer).lines for host, answer in self.answers.items()})


def status_of_all(statuses: Sequence[int]) -> int:
    """The exit status that they have in common; that of a failure in part where they differ."""
    return statuses[0] if len(set(statuses)) == 1 else PartialFailure.exit_status


def json_line(host: str, answer: Any, value: Callable[[Any], Any] | None = None) -> str:
    """One host's answer for a program."""
    from relaunch.client.quick import encode

    if isinstance(answer, RelaunchError):
        made = {"host": host, "error": {"name": answer.wire_name, "message": answer.message}}
    else:
        made = {"host": host, "result": value(answer) if value else answer}
    return encode(made) + "\n"


def told_of_failure(host: str, error: RelaunchError) -> Told:
    """A failure in a line that can be folded: the host stands before it."""
    return Told([failure_line(host, error)], error.exit_status)


def failure_line(host: str, error: RelaunchError, about: str = "") -> Line:
    """The line for a failure.

    Args:
        host: Where.
        error: What.
        about: What it is about, where the error does not say.
    """
    text = error.message.removeprefix(f"{host}: ")
    if isinstance(error, NoLauncher):
        return Line(f"no launcher runs there; start it with: launch -H {_HOSTS_MARK} serve", wrong=True)
    if about and about not in text:
        text = f"{about}: {text}"
    return Line(text, _anonymous(text, host), wrong=True)


def _anonymous(text: str, host: str) -> str:
    """A text with HOST in place of a host's name, so that it is the same for many."""
    return " ".join("HOST".join(word.split(host)) if word.strip(_AROUND) == host else word for word in text.split(" "))


def say_failure(host: str, error: RelaunchError) -> None:
    """Say in a line what failed on one host."""
    say(f"{host}: {failure_line(host, error).text}".replace(_HOSTS_MARK, host))


def tell_folded(lines: dict[str, Sequence[Line]]) -> None:
    """Write lines, those that are the same for many hosts once: what went well first, and what went wrong last."""
    from relaunch.client.nodesets import fold

    groups: dict[tuple[bool, str], list[tuple[str, Line]]] = {}
    for host, its in lines.items():
        for line in its:
            groups.setdefault((line.wrong, line.folded), []).append((host, line))
    well: list[str] = []
    wrong: list[str] = []
    for (is_wrong, folded), members in groups.items():
        hosts = fold(host for host, _ in members)
        text = (members[0][1].text if len(members) == 1 else folded).replace(_HOSTS_MARK, hosts)
        (wrong if is_wrong else well).append(f"{hosts}: {text}")
    write("".join(f"{text}\n" for text in well))
    for text in wrong:
        say(text)


class Progress:
    """A line on the terminal that says who is waited for, once that takes a while."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._waiting = dict.fromkeys(hosts)
        self._count = len(hosts)
        self._shown = False
        self._terminal = len(hosts) > 1 and os.isatty(STDERR)
        self._begun_at = self._now()

    def _now(self) -> float:
        from time import monotonic

        return monotonic()

    def took(self, host: str) -> None:
        """A host has answered."""
        self._waiting.pop(host, None)
        if not self._terminal or not self._waiting or self._now() - self._begun_at < PROGRESS_AFTER_S:
            return
        names = list(self._waiting)
        named = ", ".join(names[:_NAMED_MAX]) + (" ..." if len(names) > _NAMED_MAX else "")
        self._put(f"{_CLEAR}{self._count - len(names)} of {self._count} hosts have answered; waiting for {named}")
        self._shown = True

    def end(self) -> None:
        """Take the line away."""
        if self._shown:
            self._put(_CLEAR)
            self._shown = False

    def _put(self, text: str) -> None:
        try:
            os.write(STDERR, encoded(text))
        except OSError:
            self._terminal = False
