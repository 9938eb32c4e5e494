"""Every error that relaunch raises, and what each one means outside Python.

    RelaunchError                  exit status
    ├── Refused                    1   the launcher understood, and said no
    │   ├── LabelInUse
    │   ├── NoSuchLabel
    │   ├── NoSuchSubscription
    │   ├── NotRunning
    │   ├── NotReady
    │   ├── StartFailed
    │   ├── Survived
    │   ├── JournalFailed
    │   ├── ShuttingDown
    │   ├── NotPermitted
    │   ├── AlreadyServing
    │   ├── ServeFailed
    │   └── ListenFailed
    ├── Usage                      2   the request itself is wrong
    │   ├── BadLabel
    │   ├── BadPattern
    │   ├── BadSpec
    │   ├── BadSignal
    │   ├── BadHost
    │   ├── BadJobFile
    │   └── BadCall
    ├── PartialFailure             4   of many hosts, some failed and others did not
    └── Unreachable                3   nobody answered, or the answer was lost
        ├── HostUnreachable
        ├── HostKeyRefused
        ├── NotAuthenticated
        ├── TimedOut
        ├── NotInstalled
        ├── OtherVersion
        ├── NoLauncher
        ├── BadPlace
        ├── OutcomeUnknown
        ├── DialFailed
        └── ProtocolBroken

An error travels as the Varlink error ``io.relaunch.Launcher.<class name>`` with the parameter ``message``: one line
that names what was wrong and what to do. This module imports nothing, so that the quickest command can afford it.
Refuses to know who raises what.
"""

INTERFACE = "io.relaunch.Launcher"


def one_line(text: str) -> str:
    """The text with what cannot be printed escaped, so that it is one line and does nothing to a terminal.

    Bytes that are no text (PEP 383) stay what they are.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else _escaped(c) for c in text)


def _escaped(c: str) -> str:
    return c.encode("unicode_escape", "surrogatepass").decode("ascii")


class RelaunchError(Exception):
    """Any error of relaunch."""

    exit_status = 1

    @property
    def message(self) -> str:
        """The line for a person."""
        return one_line(str(self))

    @property
    def wire_name(self) -> str:
        """The Varlink name of this error, stable across versions."""
        return f"{INTERFACE}.{type(self).__name__}"


class Refused(RelaunchError):
    """The launcher understood the request and will not do it."""


class LabelInUse(Refused):
    """A job under this label has not finished."""


class NoSuchLabel(Refused):
    """No job has this label, or no label matches this pattern."""


class NoSuchSubscription(Refused):
    """The launcher has no subscription of this id or name."""


class NotRunning(Refused):
    """The job has no process that could be signalled."""


class NotReady(Refused):
    """The job is not ready, and will not be by itself, or was not in time."""


class StartFailed(Refused):
    """The job's process could not be started: no such program, not executable, no such directory, limit refused."""


class Survived(Refused):
    """A process of the job outlived its stop."""


class JournalFailed(Refused):
    """The journal cannot be written (disk full, read-only, gone), so nothing new is started."""


class ShuttingDown(Refused):
    """The launcher is ending and takes nothing new."""


class NotPermitted(Refused):
    """The caller is another user than the launcher's."""


class AlreadyServing(Refused):
    """A launcher of this user already serves on this host."""


class ServeFailed(Refused):
    """The launcher could not be brought up."""


class ListenFailed(Refused):
    """The subscriber's address cannot be listened on."""


class Usage(RelaunchError):
    """The request itself is wrong; sent again it would be wrong again."""

    exit_status = 2


class BadLabel(Usage):
    """The label holds what a label may not hold."""


class BadPattern(Usage):
    """The pattern is malformed."""


class BadSpec(Usage):
    """A field of the job's spec is missing, of a wrong type or out of range."""


class BadSignal(Usage):
    """No signal has this name or number."""


class BadHost(Usage):
    """The name is none that a host can have, or ssh or a shell could take it for something else."""


class BadJobFile(Usage):
    """The file is no job file, a key of it is wrong, or others than its owner can change it."""


class BadCall(Usage):
    """The method's parameters are not those of the interface."""


class PartialFailure(RelaunchError):
    """Of many hosts, some failed and others did not, or each in a way of its own."""

    exit_status = 4


class Unreachable(RelaunchError):
    """Nobody answered, or the answer was lost on its way."""

    exit_status = 3


class HostUnreachable(Unreachable):
    """There is no connection to the host: no such name, no way there, nobody listens, or it hung up."""


class HostKeyRefused(Unreachable):
    """The host's key is not known, or is another one than it was."""


class NotAuthenticated(Unreachable):
    """The host did not accept the user, or would have to be told something that nobody was there to type."""


class TimedOut(Unreachable):
    """The host did not answer in time, and nothing was asked of it."""


class NotInstalled(Unreachable):
    """The host's login shell finds no ``launch``."""


class OtherVersion(Unreachable):
    """The host's ``launch`` is of a version that cannot be talked to."""


class NoLauncher(Unreachable):
    """No launcher listens on the socket."""


class BadPlace(Unreachable):
    """The runtime or state directory cannot be trusted or used: wrong owner, mode, kind, or too long a path."""


class OutcomeUnknown(Unreachable):
    """The connection ended after the request went out and before its answer came."""


class DialFailed(Unreachable):
    """A subscriber could not be connected to, or is not the one whose certificate was named."""


class ProtocolBroken(Unreachable):
    """The peer sent what the protocol does not allow, or a message over the bound."""


def _tree(root: type[RelaunchError]) -> list[type[RelaunchError]]:
    return [root, *(found for child in root.__subclasses__() for found in _tree(child))]


BY_WIRE_NAME = {f"{INTERFACE}.{kind.__name__}": kind for kind in _tree(RelaunchError)}


def from_wire(name: str, parameters: dict[str, object]) -> RelaunchError:
    """The exception that a Varlink error reply stands for.

    Args:
        name: The reply's ``error``, a full Varlink name.
        parameters: The reply's ``parameters``.

    Returns:
        The exception of that name; a ``ProtocolBroken`` that quotes the name where none of ours has it.
    """
    kind = BY_WIRE_NAME.get(name)
    if kind is None:
        return ProtocolBroken(f"the launcher answered {name} {parameters or ''}".rstrip())
    return kind(str(parameters.get("message") or name))
