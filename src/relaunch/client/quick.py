"""The synchronous client, for commands: a whole ``launch list`` is to cost little more than starting Python.

Knows how to send calls over the launcher's socket and to read their replies, in order. Refuses to know what a call
means. Imports only C modules and light ones of ours: the ``socket`` and ``json`` packages cost more time than the call.
"""

from __future__ import annotations

import _socket
import sys

from relaunch.client.calls import ANSWER_S
from relaunch.client.endpoint import check_peer, connect_failed, lost, trusted_path
from relaunch.errors import BadCall, OutcomeUnknown, ProtocolBroken, TimedOut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from relaunch.client.calls import Call

# As in relaunch.core.varlink, which would bring the json package with it.
MESSAGE_BYTES_MAX = 4 * 1024 * 1024
ANSWER_BYTES_MAX = 64 * 1024 * 1024
_RECEIVE_BYTES = 256 * 1024
_TRIES = 5
STDERR = 2


class _Rules:
    """What the C scanner wants to be told, the same as ``json.loads`` tells it."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    memo: dict[str, str] = {}  # noqa: RUF012 - the scanner's, shared as it is in json

    @staticmethod
    def parse_constant(name: str) -> None:
        raise ValueError(f"{name} is not JSON")


def _refuse(value: object) -> None:
    raise TypeError(f"{type(value).__name__} does not go on the wire")


# The private names have been the same since Python 3.1; should they go, the public module is as right and only slower.
try:
    import _json

    _scan: Callable[[str, int], tuple[Any, int]] = _json.make_scanner(_Rules)  # type: ignore[arg-type]  # any object with these attributes will do
    _chunks = _json.make_encoder(
        None,
        _refuse,
        _json.encode_basestring_ascii,
        None,
        ":",
        ",",
        False,
        False,
        False,
    )
    if "".join(_chunks({"a": [1]}, 0)) != '{"a":[1]}' or _scan('{"a":[1]}', 0)[0] != {"a": [1]}:
        raise TypeError

    def encode(value: object) -> str:
        """A value as JSON, in ASCII."""
        return "".join(_chunks(value, 0))

    def decode(text: str) -> Any:
        """The value that a JSON text means.

        Raises:
            ValueError: It is not JSON.
        """
        try:
            return _scan(text, 0)[0]
        except StopIteration:
            raise ValueError("it is not JSON") from None

except (ImportError, AttributeError, TypeError):  # pragma: no cover - a Python that is still to come
    import json

    def encode(value: object) -> str:
        """A value as JSON, in ASCII."""
        return json.dumps(value, separators=(",", ":"))

    def decode(text: str) -> Any:
        """The value that a JSON text means; ValueError where it is not JSON."""
        return json.loads(text)


def encode_array(values: Iterable[object]) -> str:
    """Values as a JSON array with a line for each, ended by a newline."""
    return "[" + ",\n ".join(map(encode, values)) + "]\n"


def _above_streams() -> _socket.socket:
    """A socket that is no standard stream, even where one was closed: the launcher would get what is printed."""
    low = []
    while (made := _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)).fileno() <= STDERR:
        low.append(made)
    for one in low:
        one.close()
    return made


def _limit(made: _socket.socket, option: int, limit_s: float) -> None:
    """Bound how long the socket waits, see SO_RCVTIMEO in socket(7); 0 is for ever."""
    whole, part = divmod(limit_s, 1)
    made.setsockopt(_socket.SOL_SOCKET, option, _long(int(whole)) + _long(int(part * 1e6)))


def _long(number: int) -> bytes:
    return number.to_bytes(8 if sys.maxsize > 2**32 else 4, sys.byteorder)


def connected(path: str | None = None, limit_s: float = ANSWER_S) -> tuple[_socket.socket, str]:
    """A launcher's socket, connected, and where it is.

    Args:
        path: Where; None means this user's own.
        limit_s: How long a launcher may take to accept that has many waiting.

    Raises:
        NoLauncher: Nobody listens there.
        TimedOut: The launcher accepts nobody.
        BadPlace: The socket's directory is not to be trusted.
        NotPermitted: The launcher is another user's.
    """
    path = trusted_path(path)
    made = _above_streams()
    _limit(made, _socket.SO_SNDTIMEO, limit_s)
    try:
        made.connect(path)
    except BlockingIOError:
        raise TimedOut(
            f"the launcher at {path} has taken no connection within {limit_s:g} seconds; nothing was asked of it"
        ) from None
    except OSError as error:
        raise connect_failed(error, path) from None
    _limit(made, _socket.SO_SNDTIMEO, 0)
    check_peer(made, path)
    return made, path


class Client:
    """One connection to a launcher.

    Args:
        path: Its socket; None means this user's own.

    Attributes:
        answer_s: How long an answer may take that waits for nothing; of every client.

    Raises:
        NoLauncher: Nobody listens there.
        TimedOut: The launcher accepts nobody.
        BadPlace: The socket's directory is not to be trusted.
        NotPermitted: The launcher is another user's.
    """

    answer_s = ANSWER_S

    def __init__(self, path: str | None = None) -> None:
        self._received = b""
        self._socket, self.path = connected(path, self.answer_s)

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def call(self, call: Call) -> Any:
        """Send one call and wait for its answer.

        Raises:
            RelaunchError: What the launcher answered, or that no answer came.
        """
        self.send(call)
        return self.receive(call)

    def stream(self, call: Call, wait: Callable[[int], None] | None = None) -> Iterator[Any]:
        """Send a call that has many replies, and yield each one's answer as it comes.

        Args:
            call: What is asked.
            wait: Called with the socket before it is waited for; returns when it can be read.

        Raises:
            RelaunchError: What the launcher answered, or that the answers broke off.
        """
        self.send(call)
        continues = True
        while continues:
            if wait is not None and b"\0" not in self._received:
                wait(self._socket.fileno())
            reply = self._reply(call)
            answer = call.read(reply)
            if answer is not None:
                yield answer
            continues = reply.get("continues") is True

    def send(self, call: Call) -> None:
        """Send a call and wait for nothing; ``receive`` in the order of ``send``.

        Raises:
            BadCall: The call is too large for one message.
        """
        data = encode(call.message()).encode("ascii") + b"\0"
        if len(data) > MESSAGE_BYTES_MAX:
            raise BadCall(f"the request has {len(data)} bytes; at most {MESSAGE_BYTES_MAX} are taken")
        limit_s = 0 if call.waits else self.answer_s
        _limit(self._socket, _socket.SO_SNDTIMEO, limit_s)
        _limit(self._socket, _socket.SO_RCVTIMEO, limit_s)
        try:
            # The command has SIGPIPE at its default, so that `launch list | head` ends quietly; not so for this socket.
            self._socket.sendall(data, _socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            # A launcher that hangs up has said why before; receive() finds that, or the end.
            return
        except BlockingIOError:
            raise self._late(call) from None

    def receive(self, call: Call) -> Any:
        """The answer to the earliest call that has none yet, which is this one.

        Raises:
            RelaunchError: What the launcher answered, or that no answer came.
        """
        return call.read(self._reply(call))

    def _reply(self, call: Call) -> dict[str, Any]:
        head, end, rest = self._received.partition(b"\0")
        if not end:
            head, rest = self._until_end(call)
        self._received = rest
        try:
            reply = decode(head.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise ProtocolBroken(f"the launcher at {self.path} sent what is not JSON: {error}") from None
        if not isinstance(reply, dict):
            raise ProtocolBroken(f"the launcher at {self.path} sent what is not a JSON object")
        return reply

    def _late(self, call: Call) -> OutcomeUnknown:
        name = call.method.rpartition(".")[2]
        unknown = ": whether it was done is unknown; look with: launch list" if call.changes else ""
        return OutcomeUnknown(
            f"the launcher at {self.path} has not answered {name} within {self.answer_s:g} seconds{unknown}"
        )

    def _until_end(self, call: Call) -> tuple[bytes, bytes]:
        parts, size = [self._received], len(self._received)
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except ConnectionResetError:
                data = b""
            except BlockingIOError:
                raise self._late(call) from None
            if not data:
                raise lost(call)
            last, end, rest = data.partition(b"\0")
            parts.append(last)
            size += len(last)
            if size > ANSWER_BYTES_MAX:
                raise ProtocolBroken(f"the launcher at {self.path} sent a message over {ANSWER_BYTES_MAX} bytes")
            if end:
                return b"".join(parts), rest


def call_until_answered(call: Call) -> Any:
    """Make a call that changes nothing; where its answer is lost, as when the launcher is replaced, make it again.

    Raises:
        RelaunchError: What the launcher answered, or that its answer was lost again and again.
    """
    for _ in range(_TRIES - 1):
        client = Client()
        try:
            return client.call(call)
        except OutcomeUnknown:
            client.close()
    return Client().call(call)
