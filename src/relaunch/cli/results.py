"""What many hosts answered: to a person once, what is the same for many in one line; to a program as it comes.

Knows lines, how they are folded, what cannot wait for the end, and the exit status of all. Refuses to know what was
asked.
"""

from __future__ import annotations

from relaunch.cli.output import say, write
from relaunch.cli.progress import Progress
from relaunch.errors import NoLauncher, PartialFailure, ProtocolBroken, RelaunchError, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from relaunch.cli.over import Over

# What may stand around a host's name in a message.
_AROUND = "`'\"(),;:"
# Where a line names all the hosts that it is about.
_HOSTS_MARK = "\0"
# What comes of an answer that is not what the interface says: whoever answers may be anybody's.
_UNREADABLE = (AttributeError, LookupError, TypeError, ValueError)


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

    Where a person looks on, on a terminal, what goes wrong is told within a second, and a line says who is waited for;
    what goes well stays for the end, where it can be folded.

    Args:
        over: The hosts.
        tell: What is to be told of an answer that is no error.
        show: Makes a text of all answers that are no errors, where lines are not the way: by host, in the hosts' order.
        as_json: Whether a program reads it: each answer is written as it comes.
        value: What of an answer goes into JSON; all of it unless told otherwise.
    """

    def __init__(
        self,
        over: Over,
        tell: Callable[[str, Any], Told],
        *,
        show: Callable[[dict[str, Any]], str] | None = None,
        as_json: bool = False,
        value: Callable[[Any], Any] | None = None,
    ) -> None:
        self._over = over
        self._tell = tell
        self._show = show
        self._as_json = as_json
        self._value = value
        self._answers: dict[str, Any] = {}
        self._untold: list[str] = []
        self._told_early: set[str] = set()
        self._ended = False
        self._progress = Progress(over.hosts, self._tell_early)

    def begin(self) -> None:
        """From now on hosts are waited for."""
        self._progress.begin()

    def took(self, host: str, answer: Any) -> None:
        """Take one host's answer, an error as a value; none after the end."""
        if self._ended and host in self._answers:
            return
        self._answers[host] = answer
        self._progress.took(host)
        if self._as_json:
            self._progress.hold()
            write(self._json_line(host))
            self._progress.release()
        else:
            self._untold.append(host)
        if len(self._answers) == len(self._over.hosts):
            self._progress.end()
            if not self._as_json:
                self._show_all()

    def end(self, why: Mapping[str, RelaunchError]) -> None:
        """Take it that no more answers come.

        Args:
            why: What is to be said of each host that has not answered.
        """
        self._ended = True
        for host in self._over.hosts:
            if host not in self._answers:
                self.took(host, why[host])

    def close(self) -> None:
        """Take the line away that says who is waited for, whatever the reason."""
        self._progress.end()

    @property
    def answers(self) -> dict[str, Any]:
        """Each host's answer, in the hosts' order."""
        return {host: self._answers[host] for host in self._over.hosts if host in self._answers}

    @property
    def status(self) -> int:
        """The exit status: where all hosts are alike, theirs; else that of a failure in part."""
        return status_of_all([self._told(host, answer).status for host, answer in self.answers.items()])

    def _told(self, host: str, answer: Any) -> Told:
        if not isinstance(answer, RelaunchError):
            try:
                return self._tell(host, answer)
            except _UNREADABLE:
                answer = self._misread(host)
        return told_of_failure(host, answer)

    def _misread(self, host: str) -> ProtocolBroken:
        """Take it that a host has failed whose answer cannot be read; that is no failure of any other."""
        self._answers[host] = error = ProtocolBroken(f"{host}: the launcher's answer is not what was asked for")
        return error

    def _json_line(self, host: str) -> str:
        self._told(host, self._answers[host])
        try:
            return json_line(host, self._answers[host], self._value)
        except _UNREADABLE:
            return json_line(host, self._misread(host))

    def _shown(self, show: Callable[[dict[str, Any]], str]) -> str:
        well = {host: one for host, one in self.answers.items() if not isinstance(one, RelaunchError)}
        try:
            return show(well) if well else ""
        except _UNREADABLE:
            for host, one in well.items():
                try:
                    show({host: one})
                except _UNREADABLE:
                    self._misread(host)
            rest = {host: one for host, one in well.items() if self._answers[host] is one}
            return show(rest) if rest else ""

    def _show_all(self) -> None:
        if self._show is not None:
            write(self._shown(self._show))
        lines = {host: self._told(host, answer).lines for host, answer in self.answers.items()}
        tell_folded(
            {
                host: [line for line in its if not (line.wrong and host in self._told_early)]
                for host, its in lines.items()
            }
        )
        if self._told_early and not self._ended:
            from relaunch.client.nodesets import fold

            wrong = [host for host, its in lines.items() if any(line.wrong for line in its)]
            say(f"{len(wrong)} of {len(lines)} hosts did not do well: {fold(wrong)}")

    def _tell_early(self) -> None:
        """Tell what has gone wrong since this was called last."""
        if self._as_json:
            return
        hosts, self._untold = self._untold, []
        lines = {host: [line for line in self._told(host, self._answers[host]).lines if line.wrong] for host in hosts}
        wrong = {host: its for host, its in lines.items() if its}
        if wrong:
            self._told_early.update(wrong)
            self._progress.clear()
            tell_folded(wrong)


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


def tell_folded(lines: Mapping[str, Sequence[Line]]) -> None:
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
        texts = {line.text for _, line in members}
        text = (texts.pop() if len(texts) == 1 else folded).replace(_HOSTS_MARK, hosts)
        (wrong if is_wrong else well).append(f"{hosts}: {text}")
    write("".join(f"{one_line(text)}\n" for text in well))
    for text in wrong:
        say(text)
