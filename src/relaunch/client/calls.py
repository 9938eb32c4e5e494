"""Every call that a launcher answers, built and read in one place for both clients.

Knows each method's name, its parameters, which part of the reply is the answer, and how long that may take. Refuses to
know how bytes travel and what an answer is made into. Imports nothing but the errors: the quickest command passes
through here.
"""

from __future__ import annotations

from relaunch.errors import INTERFACE, ProtocolBroken, RelaunchError, from_wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    Wire = dict[str, Any]

ANSWER_S = 30.0
"""How long an answer may take, where nobody says otherwise."""
FOR_EVER_S = 10 * 365 * 86400.0
"""How long one may take that waits for jobs: a limit that is none, where a number is needed."""
REPLACED_WITHIN_S = 15.0
"""How long after ``Replace`` another launcher may take to answer."""
FANOUT = 32
"""How many hosts are asked at a time, where nobody says otherwise."""


class Call:
    """One call: what is sent, and where its answer is in the reply.

    Attributes:
        method: Full Varlink name of the method.
        parameters: What the method is given; what was None is left out.
        answer: Name of the reply's part that is the answer; empty where the whole of it is.
        streams: Whether many replies may come, so that it is sent with ``more``.
        slow: Whether the answer waits for jobs. Replies come in the order of calls, so such a call gets a connection of
            its own.
        changes: Whether something is different after it, so that it must not be made twice.
    """

    __slots__ = ("answer", "changes", "method", "parameters", "slow", "streams")

    def __init__(
        self,
        method: str,
        parameters: Wire,
        answer: str = "",
        *,
        streams: bool = False,
        slow: bool = False,
        changes: bool = False,
        interface: str = INTERFACE,
    ) -> None:
        self.method = f"{interface}.{method}"
        self.parameters = {name: value for name, value in parameters.items() if value is not None}
        self.answer = answer
        self.streams = streams
        self.slow = slow or streams
        self.changes = changes

    @property
    def waits(self) -> bool:
        """Whether nobody can say when it is answered: it waits for jobs, or for what is to come."""
        return self.slow and not (self.streams and not self.parameters.get("follow"))

    def message(self) -> Wire:
        """The call as it goes on the wire."""
        message: Wire = {"method": self.method, "parameters": self.parameters}
        if self.streams:
            message["more"] = True
        return message

    def read(self, reply: Wire) -> Any:
        """The answer in one reply; None in the last reply of a stream that had nothing more to say.

        Raises:
            RelaunchError: The error that the launcher answered, as the class of its wire name.
        """
        parameters = reply.get("parameters") or {}
        error = reply.get("error")
        if error is not None:
            raise _error(error, parameters)
        if not self.answer:
            return parameters
        if self.streams and not parameters:
            return None
        try:
            return parameters[self.answer]
        except (KeyError, TypeError):
            raise ProtocolBroken(f"the launcher answered {self.method} without {self.answer!r}") from None


def _error(name: object, parameters: object) -> RelaunchError:
    return from_wire(str(name), parameters if isinstance(parameters, dict) else {})


def submit(spec: Wire, request: str | None = None, *, replace: bool = False) -> Call:
    """Take in a job, once for each id of a request, and start it if nothing else will; the answer is a Job.

    Where it is to replace the job that has its label, that one is stopped first.
    """
    parameters = {"spec": spec, "request": request, "replace": replace or None}
    return Call("Submit", parameters, "job", slow=replace, changes=True)


def list_jobs(patterns: Iterable[str] = ()) -> Call:
    """The jobs that the patterns choose; all without any."""
    return Call("List", {"patterns": list(patterns) or None}, "jobs")


def describe(label: str) -> Call:
    """Everything known of one job; the answer has the parts ``job``, ``spec`` and ``processes``."""
    return Call("Describe", {"label": label})


def get_specs(patterns: Iterable[str] = ()) -> Call:
    """What was asked for under the labels that the patterns choose, all without any; the answer is a list of Specs."""
    return Call("GetSpecs", {"patterns": list(patterns) or None}, "specs")


def get_status() -> Call:
    """What the launcher says of itself; the answer is a Status."""
    return Call("GetStatus", {}, "status")


def stop(patterns: Sequence[str], signal: str | None = None, timeout_s: float | None = None) -> Call:
    """End whole trees; the answer is one Outcome for each label."""
    parameters = {"patterns": list(patterns), "signal": signal, "timeout_s": timeout_s}
    return Call("Stop", parameters, "outcomes", slow=True, changes=True)


def unload(patterns: Sequence[str], timeout_s: float | None = None) -> Call:
    """End whole trees and forget the jobs; the answer is one Outcome for each label."""
    parameters = {"patterns": list(patterns), "timeout_s": timeout_s}
    return Call("Unload", parameters, "outcomes", slow=True, changes=True)


def restart(patterns: Sequence[str]) -> Call:
    """Stop and start again; the answer is one Outcome for each label."""
    return Call("Restart", {"patterns": list(patterns)}, "outcomes", slow=True, changes=True)


def send_signal(patterns: Sequence[str], signal: str) -> Call:
    """Send a signal to each job's own process; the answer is one Outcome for each label."""
    return Call("Signal", {"patterns": list(patterns), "signal": signal}, "outcomes", changes=True)


def await_ready(patterns: Sequence[str], timeout_s: float | None = None) -> Call:
    """Wait for jobs to be ready; the answer is one Outcome for each label."""
    return Call("AwaitReady", {"patterns": list(patterns), "timeout_s": timeout_s}, "outcomes", slow=True)


def wait(patterns: Sequence[str]) -> Call:
    """Wait for jobs to finish; the answer is a list of Job."""
    return Call("Wait", {"patterns": list(patterns)}, "jobs", slow=True)


def logs(label: str, lines: int | None = None, *, follow: bool = False, since_submit: bool = False) -> Call:
    """A job's output, with ``since_submit`` no other job's; each answer is a piece of it in base64."""
    parameters = {"label": label, "lines": lines, "follow": follow or None, "since_submit": since_submit or None}
    return Call("Logs", parameters, "data", streams=True)


def events(
    patterns: Iterable[str] = (),
    *,
    since: int | None = None,
    since_at: float | None = None,
    count: int | None = None,
    follow: bool = False,
    kinds: Iterable[str] | None = None,
    epoch: str | None = None,
) -> Call:
    """Events of the journal; each answer is a list of them."""
    parameters = {
        "patterns": list(patterns) or None,
        "since": since,
        "since_at": since_at,
        "count": count,
        "follow": follow or None,
        "kinds": None if kinds is None else list(kinds),
        "epoch": epoch,
    }
    return Call("Events", parameters, "events", streams=True)


def subscribe(subscription: Wire, *, since: int | None = None, since_at: float | None = None) -> Call:
    """Have events delivered; the answer says who delivers, and after what."""
    return Call("Subscribe", {"subscription": subscription, "since": since, "since_at": since_at}, changes=True)


def unsubscribe(ids: Iterable[str]) -> Call:
    """End subscriptions, by id or name; the answer is a list of ids."""
    return Call("Unsubscribe", {"ids": list(ids)}, "ended", changes=True)


def subscriptions() -> Call:
    """Every subscription; the answer is a list of Subscription."""
    return Call("Subscriptions", {}, "subscriptions")


def shutdown(*, leave_jobs: bool = False) -> Call:
    """End everything; the answer is one Outcome for each job that survived."""
    return Call("Shutdown", {"leave_jobs": leave_jobs or None}, "survivors", slow=True, changes=True)


def replace() -> Call:
    """Start the launcher's program anew."""
    return Call("Replace", {}, slow=True, changes=True)
