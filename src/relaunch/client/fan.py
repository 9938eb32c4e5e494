"""Many launchers on other hosts asked at once, in one thread, through sockets that ssh forwards already.

Knows the quickest way there is: no process, no event loop, one exchange of messages for each host. Refuses to connect
to any host that is not connected: whom it does not reach, it names, and nothing has happened there that may not happen
again. Imports next to nothing: thirty hosts are to cost little more than one.
"""

from __future__ import annotations

import _socket
import select
from time import monotonic

from relaunch.client.endpoint import check_peer, lost
from relaunch.client.forwards import forwarded_socket, trusted_masters_directory
from relaunch.client.leftovers import sweep
from relaunch.client.quick import ANSWER_BYTES_MAX, MESSAGE_BYTES_MAX, decode, encode
from relaunch.client.versions import compatible
from relaunch.errors import BadCall, OutcomeUnknown, ProtocolBroken, RelaunchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from relaunch.client.calls import Call

    Took = Callable[[str, Any], None]

PROVED_S = 1.0
"""A forward that leads to a launcher has answered within this; else somebody has to look who knows what to do."""
_WHO = b'{"method":"org.varlink.service.GetInfo","parameters":{}}\0'
_RECEIVE_BYTES = 256 * 1024


def may_be_repeated(call: Call) -> bool:
    """Whether a call may be made again when nobody knows what became of it."""
    return not call.changes or call.parameters.get("request") is not None


def late(host: str, call: Call, timeout_s: float) -> RelaunchError:
    """The error for an answer that has not come in time."""
    unknown = "; whether it was done is unknown" if call.changes else ""
    return OutcomeUnknown(f"{host}: no answer within {timeout_s:g} seconds{unknown}")


class _Conversation:
    """One host: first it is asked who it is, since anybody may be at the end of a forward, or nobody."""

    __slots__ = ("at_once", "begun_at", "call", "host", "parts", "proved", "size", "socket", "unsent")

    def __init__(self, host: str, call: Call, forward: _socket.socket, *, at_once: bool) -> None:
        self.host = host
        self.call = call
        self.socket = forward
        self.proved = False
        self.at_once = at_once
        self.parts: list[bytes] = []
        self.size = 0
        self.begun_at = monotonic()
        self.unsent = _WHO + (message(call) if at_once else b"")

    def send(self) -> bool:
        """Send what can be; false where the other end has gone."""
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent, _socket.MSG_NOSIGNAL) :]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def receive(self) -> list[bytes] | None:
        """The replies that are complete now, each for ``reply`` to read; None where there will be no more.

        Raises:
            ProtocolBroken: One is too long.
        """
        try:
            data = self.socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        self.parts.append(data)
        self.size += len(data)
        if b"\0" not in data:
            if self.size > ANSWER_BYTES_MAX:
                raise ProtocolBroken(f"{self.host}: the launcher sent a message over {ANSWER_BYTES_MAX} bytes")
            return []
        *heads, rest = b"".join(self.parts).split(b"\0")
        self.parts, self.size = [rest], len(rest)
        return heads

    def reply(self, data: bytes) -> dict[str, Any]:
        """A reply, read.

        Raises:
            ProtocolBroken: It is none.
        """
        try:
            reply = decode(data.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise ProtocolBroken(f"{self.host}: the launcher sent what is not JSON: {error}") from None
        if not isinstance(reply, dict):
            raise ProtocolBroken(f"{self.host}: the launcher sent what is not a JSON object")
        return reply


class Fan:
    """One request to many hosts.

    ``ask`` does it all. A caller that has other things to wait for calls ``begin``, and then, for as long as it is
    ``busy``, ``turn`` whenever ``fileno`` can be read or ``next_s`` is over.

    Args:
        took: Called with each host's answer, an error as a value.
        fanout: How many are asked at a time.
        timeout_s: How long an answer may take; None is as long as it takes.

    Attributes:
        left: The hosts that are to be asked in another way; with each, whether it may have been asked already.
        asked: The hosts that may have been asked.
    """

    def __init__(self, took: Took, fanout: int, timeout_s: float | None) -> None:
        self.left: dict[str, bool] = {}
        self.asked: set[str] = set()
        self._took = took
        self._fanout = fanout
        self._timeout_s = timeout_s
        self._directory = ""
        self._waiting: list[tuple[str, Call]] = []
        self._open: dict[int, _Conversation] = {}
        # Of a call that waits for jobs: on how many hosts it is to be made; none once it is made.
        self._together: list[str] = []
        self._held = 0
        self._poll = select.epoll()

    def ask(self, calls: Mapping[str, Call]) -> dict[str, bool]:
        """Ask, and return when each host that can be asked this way has answered, or is too late.

        Returns:
            The hosts that are to be asked in another way; with each, whether it may have been asked already.

        Raises:
            BadCall: A call is too large for one message.
        """
        self.begin(calls)
        while self.busy:
            self.turn()
        return self.left

    def begin(self, calls: Mapping[str, Call]) -> None:
        """Begin to ask.

        A call that waits for jobs is made on all hosts or on none, so that none is begun much later than others.

        Raises:
            BadCall: A call is too large for one message.
        """
        try:
            self._directory = trusted_masters_directory()
            sweep(self._directory)
        except RelaunchError:
            # Whoever makes the directory says what is wrong with it.
            self.left = dict.fromkeys(calls, False)
            return
        if any(call.slow for call in calls.values()):
            if len(calls) > self._fanout:
                self.left = dict.fromkeys(calls, False)
                return
            self._together, self._held = list(calls), len(calls)
        self._waiting = list(calls.items())[::-1]
        self._fill()

    @property
    def busy(self) -> bool:
        """Whether there is a host that is being asked this way."""
        return bool(self._waiting or self._open)

    def fileno(self) -> int:
        """What can be read when there is something to do."""
        return self._poll.fileno()

    @property
    def next_s(self) -> float | None:
        """In how many seconds there is something to do, whatever comes; None is never."""
        next_at = min(map(self._deadline, self._open.values()), default=0.0)
        return None if next_at == float("inf") else max(0.0, next_at - monotonic())

    def turn(self, *, waits: bool = True) -> None:
        """Take what has come; wait for it before, unless told otherwise."""
        for fd, events in self._poll.poll(self.next_s if waits else 0):
            one = self._open.get(fd)
            if one is None:
                continue
            if events & ~select.EPOLLOUT:
                self._hear(one)
            elif events & select.EPOLLOUT:
                self._push(one)
        now = monotonic()
        for one in [one for one in self._open.values() if self._deadline(one) <= now]:
            self._end(one)
            if one.proved and self._timeout_s is not None:
                self._took(one.host, late(one.host, one.call, self._timeout_s))
            else:
                self.left[one.host] = False
        self._fill()

    def _fill(self) -> None:
        """Begin with as many hosts as may be asked at a time."""
        while self._waiting and len(self._open) < self._fanout:
            self._begin(*self._waiting.pop())
        if self._together and self.left:
            for one in list(self._open.values()):
                self._end(one)
            self.left = dict.fromkeys(self._together, False)
            self._waiting = []

    def _begin(self, host: str, call: Call) -> None:
        forward = _connect(forwarded_socket(self._directory, host))
        if forward is None:
            self.left[host] = False
            return
        made = _Conversation(host, call, forward, at_once=not call.changes and not self._together)
        if made.at_once:
            self.asked.add(host)
        self._open[forward.fileno()] = made
        self._poll.register(forward, select.EPOLLIN)
        self._push(made)

    def _deadline(self, one: _Conversation) -> float:
        if not one.proved:
            return one.begun_at + min(PROVED_S, self._timeout_s or PROVED_S)
        return float("inf") if self._timeout_s is None else one.begun_at + self._timeout_s

    def _push(self, one: _Conversation) -> None:
        if not one.send():
            self._broke(one)
            return
        self._poll.modify(one.socket, select.EPOLLIN | (select.EPOLLOUT if one.unsent else 0))

    def _hear(self, one: _Conversation) -> None:
        try:
            heads = one.receive()
            if heads is None:
                self._broke(one)
                return
            for reply in map(one.reply, heads):
                if not one.proved:
                    self._prove(one, reply)
                elif one.host not in self.asked:
                    raise ProtocolBroken(f"{one.host}: the launcher answered what nobody asked")
                else:
                    answer = one.call.read(reply)
                    self._end(one)
                    self._took(one.host, answer)
                if one.socket.fileno() < 0:
                    return
        except RelaunchError as error:
            self._end(one)
            if one.proved and one.host in self.asked:
                self._took(one.host, error)
            else:
                # Whatever that is, somebody has to look who knows what to do; nobody waits for it.
                self.left[one.host] = False

    def _prove(self, one: _Conversation, reply: dict[str, Any]) -> None:
        who = reply.get("parameters")
        if reply.get("error") is not None or not isinstance(who, dict) or not compatible(who.get("version")):
            self._end(one)
            self.left[one.host] = False
            return
        one.proved = True
        if one.at_once:
            return
        if not self._together:
            self._say(one)
            return
        self._held -= 1
        if self._held == 0:
            # All are there.
            self._together = []
            for each in list(self._open.values()):
                self._say(each)

    def _say(self, one: _Conversation) -> None:
        self.asked.add(one.host)
        one.unsent += message(one.call)
        self._push(one)

    def _broke(self, one: _Conversation) -> None:
        """Take it that the connection has ended."""
        self._end(one)
        asked = one.proved and one.host in self.asked
        if may_be_repeated(one.call) or not asked:
            self.left[one.host] = asked
        else:
            self._took(one.host, lost(one.call, one.host))

    def _end(self, one: _Conversation) -> None:
        fd = one.socket.fileno()
        if fd >= 0:
            self._poll.unregister(fd)
            del self._open[fd]
            one.socket.close()


def message(call: Call) -> bytes:
    """A call as it goes over the socket.

    Raises:
        BadCall: It is too large for one message.
    """
    data = encode(call.message()).encode("ascii") + b"\0"
    if len(data) > MESSAGE_BYTES_MAX:
        raise BadCall(f"the request has {len(data)} bytes; at most {MESSAGE_BYTES_MAX} are taken")
    return data


def _connect(path: str) -> _socket.socket | None:
    """A forwarded socket, connected; None where nobody listens."""
    if not path:
        return None
    made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
    try:
        made.connect(path)
        check_peer(made, path)
    except (OSError, RelaunchError):
        made.close()
        return None
    return made
