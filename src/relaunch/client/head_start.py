"""Has ssh on its way to hosts that are not connected while everything else is still being loaded.

Knows the plain case: nothing is left of an earlier connection, and nobody else is about to make one. Refuses to deal
with any other, and to wait for anything: whoever takes over does. Imports next to nothing.
"""

from __future__ import annotations

import os

from relaunch.client import ssh_command
from relaunch.client.forwards import control_socket, stem_made
from relaunch.client.leftovers import Turn, take_turn
from relaunch.client.ssh_process import SshStream
from relaunch.errors import RelaunchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Begun:
    """A bridge on its way, and the turn to make the master that it makes.

    Attributes:
        turn: Its owner's to give back.
        ssh: Its owner's to end.
    """

    def __init__(self, turn: Turn, ssh: SshStream) -> None:
        self.turn = turn
        self.ssh = ssh

    def drop(self) -> None:
        """Give it up."""
        self.ssh.drop()
        self.turn.give_back()


def begin(hosts: Iterable[str], timeout_s: float, *, prompts: bool) -> dict[str, Begun]:
    """Start a bridge to each host where that is plain; the others are left to whoever connects to them.

    No signal's handler may raise meanwhile: what is started would be nobody's.

    Args:
        hosts: Checked already.
        timeout_s: How long connecting may take.
        prompts: Whether ssh may ask on the terminal.
    """
    begun: dict[str, Begun] = {}
    highest = os.sysconf("SC_OPEN_MAX") // 2
    try:
        for host in hosts:
            one = _begin(host, timeout_s, prompts=prompts)
            if one is None:
                continue
            begun[host] = one
            if one.ssh.stream.fileno() > highest:
                # What is still to be loaded, and to be asked, needs descriptors too.
                break
    except (OSError, RelaunchError):
        # Whoever connects says what is wrong.
        pass
    return begun


def _begin(host: str, timeout_s: float, *, prompts: bool) -> Begun | None:
    stem = stem_made(host)
    turn = take_turn(stem)
    if turn is None:
        return None
    try:
        control = control_socket(stem)
        if not (os.path.lexists(control) or os.path.lexists(f"{stem}.json")):
            command = ssh_command.bridge(host, control, timeout_s, makes=True, prompts=prompts)
            return Begun(turn, SshStream.start(host, command, prompts=prompts))
    except (OSError, RelaunchError):
        turn.give_back()
        raise
    turn.give_back()
    return None
