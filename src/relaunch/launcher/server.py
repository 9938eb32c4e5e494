"""The Varlink server: connections in, calls to the handlers, replies out, in the order of the calls (W2).

One connection never harms another: what a client may send is bounded, a client that does not read is not read from, and
one that sends what is no Varlink is hung up on after one clear error. Only the launcher's own user is served, on the
kernel's word (W4). Refuses to know what a method does.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

from relaunch.core.varlink import ANSWER_BYTES_MAX, Decoder, Message, encode
from relaunch.errors import BadCall, NotPermitted, ProtocolBroken, Refused, RelaunchError
from relaunch.launcher import kernel

CONNECTIONS_MAX = 1_000
CALLS_MAX = 2_000
# Of one connection: calls begun in one turn of the loop, and what may wait for an earlier answer before no more begin.
BEGUN_AT_ONCE_MAX = 8
UNSENT_BYTES_MAX = 1024 * 1024
INTERFACE = "io.relaunch.Launcher"
_SERVICE = "org.varlink.service"
_CREDENTIALS = struct.Struct("3i")
log = logging.getLogger("relaunch")

Unary = Callable[[Message], Awaitable[Message]]
Streaming = tuple[Callable[[Message], AsyncGenerator[Message]], Message]


class VarlinkError(Exception):
    """An error reply of the service interface itself."""

    def __init__(self, name: str, parameters: Message) -> None:
        super().__init__(name)
        self.name, self.parameters = f"{_SERVICE}.{name}", parameters


class Server:
    """Serves the interface on a listening socket until ``close``.

    Args:
        unary: Methods that answer once, by name.
        streaming: Methods that answer any number of times, with the last, empty answer; called without ``more`` they
            have one answer only.
        version: Told to who asks for it.
        connections_max: How many clients at once, at most.
    """

    def __init__(
        self,
        unary: Mapping[str, Unary],
        streaming: Mapping[str, Streaming],
        version: str,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        self.unary = unary
        self.streaming = streaming
        self.version = version
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.hang_ups = kernel.HangUps(asyncio.get_running_loop())
        self._connections_max = connections_max
        self._opening: set[asyncio.Task[Any]] = set()
        self._paused = False
        self._listener: socket.socket | None = None

    def start(self, listener: socket.socket) -> None:
        """Accept connections; the listener stays the caller's."""
        listener.setblocking(False)
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._accept)

    def stop_accepting(self) -> None:
        """Take no new connection; those there are live on."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener = None

    async def close(self) -> None:
        """Answer what is answered, and hang up."""
        self.stop_accepting()
        if self._opening:
            await asyncio.wait(self._opening)
        for connection in list(self.connections):
            connection.drain()
        for _ in range(50):
            if not self.connections:
                break
            await asyncio.sleep(0.01)
        self.hang_ups.close()

    def _accept(self) -> None:
        for _ in range(64):
            if self._listener is None:
                return
            try:
                client, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if not self._paused:
                    log.warning("clients wait, for a connection could not be accepted: %s", error.strerror)
                self._pause()
                return
            self._paused = False
            self._open(client)

    def _pause(self) -> None:
        """Out of descriptors: who waits in the backlog is served when one is free."""
        listener, loop = self._listener, asyncio.get_running_loop()
        self._paused = True
        self.stop_accepting()
        if listener is not None:
            loop.call_later(0.2, self.start, listener)

    def _open(self, client: socket.socket) -> None:
        client.setblocking(False)
        try:
            _, uid, _ = _CREDENTIALS.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        except OSError:
            client.close()
            return
        refusal: RelaunchError | None = None
        if uid != os.getuid():
            refusal = NotPermitted(f"this launcher serves user {os.getuid()} only, and you are user {uid}")
        elif len(self.connections) + len(self._opening) >= self._connections_max:
            refusal = Refused(f"{self._connections_max} clients are connected already; try again when some have gone")
        if refusal is not None:
            _turn_away(client, refusal)
            return
        loop = asyncio.get_running_loop()
        task = loop.create_task(loop.connect_accepted_socket(lambda: Connection(self), client))
        self._opening.add(task)
        task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[Any]) -> None:
        self._opening.discard(task)
        if not task.cancelled() and task.exception():
            log.warning("a connection was not opened: %s", task.exception())

    async def service(self, name: str, parameters: Message) -> Message:
        """Answer a method of ``org.varlink.service``."""
        if name == "GetInfo":
            return {
                "vendor": "relaunch",
                "product": "launcher",
                "version": self.version,
                "url": "",
                "interfaces": [_SERVICE, INTERFACE],
            }
        if name != "GetInterfaceDescription":
            raise VarlinkError("MethodNotFound", {"method": f"{_SERVICE}.{name}"})
        wanted = parameters.get("interface")
        if wanted not in (_SERVICE, INTERFACE):
            raise VarlinkError("InterfaceNotFound", {"interface": str(wanted)})
        # Imported when asked: it brings along much that a start would wait for.
        from importlib import resources

        file = resources.files("relaunch.interfaces").joinpath(f"{wanted}.varlink")
        return {"description": file.read_text("utf-8")}


def _turn_away(client: socket.socket, refusal: RelaunchError) -> None:
    """Say why and hang up; the message fits any socket buffer, so this does not wait."""
    try:
        client.send(encode(_error(refusal)))
        client.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    client.close()


def _error(error: RelaunchError) -> Message:
    return {"error": error.wire_name, "parameters": {"message": error.message}}


class Connection(asyncio.Protocol):
    """One client. Calls run at the same time; their replies leave in the order of the calls."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._decoder = Decoder()
        self._transport: Any = None
        self._fileno = -1
        self._unbegun: deque[Message | ProtocolBroken] = deque()
        self._calls: deque[_Call] = deque()
        self._unsent_bytes = 0
        self._scheduled = False
        self._flush_scheduled = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._ending = False
        self._draining = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = transport
        self._fileno = transport.get_extra_info("socket").fileno()
        self._server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        try:
            messages = self._decoder.feed(data)
        except ProtocolBroken as error:
            self._transport.pause_reading()
            self._ending = True
            self._unbegun.append(error)
            self._end_streams()
            # Nothing more is read from it, so that nothing else would tell when it has gone.
            self._server.hang_ups.watch(self._fileno, self._transport.abort)
        else:
            self._unbegun += messages
        self._begin_some()

    def eof_received(self) -> bool:
        """See asyncio.Protocol. A half-closed client still gets its answers, but no endless stream."""
        if not self._draining:
            self._end_streams()
        self.finish()
        if not self._transport.is_closing():
            # As above: it may close the other half.
            self._server.hang_ups.watch(self._fileno, self._transport.abort)
        return True

    def _end_streams(self) -> None:
        """End what would go on for ever: whoever follows has said the last word."""
        for call in self._calls:
            if call.endless and call.task:
                call.over = True
                call.task.cancel()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._writable.clear()
        self._regulate()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._writable.set()
        self._regulate()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._server.connections.discard(self)
        self._server.hang_ups.unwatch(self._fileno)
        self._writable.set()
        for call in self._calls:
            if call.task and not call.oneway:
                call.task.cancel()

    def finish(self) -> None:
        """Hang up once every call has been answered."""
        self._ending = True
        self._flush()

    def drain(self) -> None:
        """Take no further call, and hang up once every call that has been sent is answered.

        A client whose call comes too late fails to send it, and knows that nothing was done.
        """
        self._draining = True
        with contextlib.suppress(OSError):
            self._transport.get_extra_info("socket").shutdown(socket.SHUT_RD)

    def _regulate(self) -> None:
        if self._transport.is_closing():
            return
        if self._unbegun and not self._scheduled and self._has_room():
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._begin_some)
        if self._ending:
            return
        if self._unbegun or not self._has_room():
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _has_room(self) -> bool:
        return len(self._calls) < CALLS_MAX and self._writable.is_set() and self._unsent_bytes < UNSENT_BYTES_MAX

    def _begin_some(self) -> None:
        """Begin calls, a few in each turn of the loop, so that their answers are seen before there are too many."""
        self._scheduled = False
        for _ in range(BEGUN_AT_ONCE_MAX):
            if not self._unbegun or not self._has_room():
                break
            self._begin(self._unbegun.popleft())
        self._regulate()

    def _begin(self, message: Message | ProtocolBroken) -> None:
        call = _Call(self, oneway=isinstance(message, dict) and message.get("oneway") is True)
        self._calls.append(call)
        self._calls[0].turn.set()
        if isinstance(message, ProtocolBroken):
            call.reply(_error(message))
            return
        call.task = asyncio.get_running_loop().create_task(self._answer(call, message))
        # The loop itself holds tasks weakly, and a oneway call outlives its connection.
        self._server.tasks.add(call.task)

    async def _answer(self, call: "_Call", message: Message) -> None:
        try:
            await self._dispatch(call, message)
        except RelaunchError as error:
            call.reply(_error(error))
        except VarlinkError as error:
            call.reply({"error": error.name, "parameters": error.parameters})
        except asyncio.CancelledError:
            call.abandon()
        except Exception:
            log.exception("a call of %s failed", message.get("method"))
            call.reply(_error(RelaunchError("the launcher failed inside; its log says more")))
        finally:
            if call.task is not None:
                self._server.tasks.discard(call.task)

    async def _dispatch(self, call: "_Call", message: Message) -> None:
        method, parameters = message.get("method"), message.get("parameters")
        if not isinstance(method, str) or not isinstance(parameters, dict | None):
            raise BadCall("a call needs 'method', a text, and may have 'parameters', an object")
        parameters = parameters or {}
        interface, _, name = method.rpartition(".")
        if interface == _SERVICE:
            call.reply({"parameters": await self._server.service(name, parameters)})
        elif interface != INTERFACE:
            raise VarlinkError("InterfaceNotFound", {"interface": interface})
        elif name in self._server.unary:
            call.reply({"parameters": await self._server.unary[name](parameters)})
        elif name in self._server.streaming:
            await self._stream(call, name, parameters, more=message.get("more") is True)
        else:
            raise VarlinkError("MethodNotFound", {"method": method})

    async def _stream(self, call: "_Call", name: str, parameters: Message, *, more: bool) -> None:
        call.endless = more and parameters.get("follow") is True
        if call.oneway:
            raise BadCall(f"{name} answers, and so cannot be called 'oneway'")
        if not more and parameters.get("follow"):
            raise BadCall(f"{name} with follow answers more than once: call it with 'more'")
        method, empty = self._server.streaming[name]
        only: Message | None = None
        replies = method(parameters)
        try:
            if more:
                await call.turn.wait()
            async for reply in replies:
                if more:
                    call.reply({"parameters": reply, "continues": True})
                    await self._writable.wait()
                elif only is None:
                    only = reply
                else:
                    raise BadCall(f"{name} has more to answer than one message holds: call it with 'more'")
        except asyncio.CancelledError:
            if not call.over:
                raise
        finally:
            await replies.aclose()
        call.reply({"parameters": only or empty})

    def give_up(self, call: "_Call") -> None:
        """Hang up where a call has no answer: what stands behind it would be taken for that."""
        if not call.oneway:
            while self._calls and self._calls[-1] is not call:
                self._calls.pop()
            self._unbegun.clear()
            self._ending = True
        self._flush()

    def flush(self, bytes_more: int, *, last: bool) -> None:
        """Send what the first calls in line have to say; one of all calls has said so much more, its ``last`` or not.

        The last words of several calls leave together, once this turn of the loop is over: to send costs more than most
        answers. A stream's are not kept for that: it knows by ``_writable`` when it has said enough.
        """
        self._unsent_bytes += bytes_more
        if not last or len(self._calls) == 1:
            self._flush()
        elif not self._flush_scheduled:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        out: list[bytes] = []
        while self._calls:
            call = self._calls[0]
            call.turn.set()
            out += call.out
            self._unsent_bytes -= sum(map(len, call.out))
            call.out = []
            if not call.answered:
                break
            self._calls.popleft()
        if self._transport is None or self._transport.is_closing():
            return
        if out:
            self._transport.write(b"".join(out))
        if self._ending and not self._calls and not self._unbegun:
            self._transport.close()
        else:
            self._regulate()


class _Call:
    """One call's place in the line of replies."""

    __slots__ = ("answered", "connection", "endless", "oneway", "out", "over", "task", "turn")

    def __init__(self, connection: Connection, *, oneway: bool) -> None:
        self.connection = connection
        self.oneway = oneway
        self.out: list[bytes] = []
        self.answered = False
        self.endless = False
        self.over = False
        self.turn = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def reply(self, message: Message) -> None:
        """The next reply, the last one unless it ``continues``."""
        data = b"" if self.oneway else _encoded(message)
        if data:
            self.out.append(data)
        self.answered = not message.get("continues")
        self.connection.flush(len(data), last=self.answered)

    def abandon(self) -> None:
        """No reply will come: the client has gone, or is to see that it has none."""
        self.answered = True
        self.connection.give_up(self)


def _encoded(message: Message) -> bytes:
    try:
        data = encode(message)
        if len(data) <= ANSWER_BYTES_MAX:
            return data
        return encode(_error(BadCall(f"the answer has {len(data)} bytes, more than one message holds; ask for less")))
    except (TypeError, ValueError):
        log.exception("a reply is not JSON: %s", json.dumps(message, default=repr)[:200])
        return encode(_error(RelaunchError("the launcher failed inside; its log says more")))
