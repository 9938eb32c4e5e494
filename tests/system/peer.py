"""A Varlink peer of the tests' own: says anything, sees every reply, and trusts no code of the client's.

Knows NUL-ended JSON over a Unix socket. Refuses to know what a launcher ought to answer.
"""

import json
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Message = dict[str, Any]
PREFIX = "io.relaunch.Launcher."
DEADLINE_S = 20.0


def encode(method: str, parameters: Message | None = None, **flags: bool) -> bytes:
    """One call as it goes on the wire; a method without a dot is the launcher's own."""
    message = {"method": method if "." in method else PREFIX + method, "parameters": parameters or {}, **flags}
    return json.dumps(message).encode() + b"\0"


class Refused(AssertionError):
    """The launcher answered with an error; ``name`` is it without the interface."""

    def __init__(self, reply: Message) -> None:
        super().__init__(f"{reply['error']}: {reply.get('parameters')}")
        self.name = reply["error"].removeprefix(PREFIX)
        self.message: str = (reply.get("parameters") or {}).get("message", "")


class HungUp(AssertionError):
    """The launcher ended the connection where a reply was due."""


class Peer:
    """One connection to a launcher."""

    def __init__(self, path: Path, timeout_s: float = DEADLINE_S) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout_s)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, method: str, parameters: Message | None = None, **flags: bool) -> None:
        """Send a call and wait for nothing."""
        self.socket.sendall(encode(method, parameters, **flags))

    def reply(self) -> Message:
        """The next reply, whatever it says."""
        while b"\0" not in self._received:
            try:
                data = self.socket.recv(1 << 18)
            except ConnectionResetError:
                data = b""
            if not data:
                raise HungUp(f"hung up after {self._received!r}")
            self._received += data
        raw, _, self._received = self._received.partition(b"\0")
        message: Message = json.loads(raw)
        return message

    def answer(self) -> Message:
        """The parameters of the next reply, which has to be no error."""
        reply = self.reply()
        if "error" in reply:
            raise Refused(reply)
        parameters: Message = reply["parameters"]
        return parameters

    def call(self, method: str, parameters: Message | None = None) -> Message:
        """One call and its answer."""
        self.send(method, parameters)
        return self.answer()

    def submit(self, label: str, *argv: str, **spec: Any) -> Message:
        """Start a job; gives it as it was answered."""
        job: Message = self.call("Submit", {"spec": spec_of(label, *argv, **spec)})["job"]
        return job

    def hung_up(self) -> bool:
        """Whether the launcher has ended the connection, and had nothing more to say."""
        try:
            self.reply()
        except HungUp:
            return True
        return False


def spec_of(label: str, *argv: str, **more: Any) -> Message:
    """A spec as it goes on the wire; runs where nothing of the tests is."""
    return {
        "label": label,
        "argv": list(argv or ("sleep", "300")),
        "cwd": "/",
        "env": {"PATH": os.environ["PATH"]},
        **more,
    }


def call(path: Path, method: str, parameters: Message | None = None) -> Message:
    """One call over a connection of its own."""
    with Peer(path) as peer:
        return peer.call(method, parameters)
