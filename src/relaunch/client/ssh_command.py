"""What ssh is called with: options that make it fit for programs, and no name that it could take for an option.

Knows ssh(1) and ssh_config(5). Refuses to know when a command is run and what comes of it. Everything else is the
user's own configuration.
"""

import math
import os

from relaunch.errors import BadHost

NO_CONTROL = "none"
"""In the place of a control socket: a connection of its own, that does not stay."""
TIMEOUT_S = 10.0
"""How long connecting may take."""
PROMPTED_S = 120.0
"""How long it may take where a person may have to type something."""
KEEP_S = 600
"""How long a master that nobody uses stays."""
ALIVE_S = 2
ALIVE_TRIES = 3
"""A peer that leaves so many questions unanswered, one every ``ALIVE_S``, is gone."""

_HOST_CHARACTERS_MAX = 255
_PORT_MAX = 65535
# Beside letters and digits: what names, addresses, users and ssh:// need, and nothing that a shell reads.
_HOST_PUNCTUATION = frozenset("._-:@[]%+=,/~")


def check_host(host: str) -> str:
    """A host as typed: a name, an alias of ssh_config, ``USER@HOST`` or ``ssh://USER@HOST:PORT``; and nothing else.

    ssh hands names to shells in ways that it has had to mend (%h in ProxyCommand), so that what a shell reads is
    refused as well.

    Raises:
        BadHost: It is no such thing.
    """
    if not host or len(host) > _HOST_CHARACTERS_MAX:
        raise BadHost(f"a host's name has 1 to {_HOST_CHARACTERS_MAX} characters, not {len(host)}")
    wrong = sorted({c for c in host if not c.isalnum() and c not in _HOST_PUNCTUATION})
    if wrong:
        raise BadHost(f"host {host!r}: {wrong[0]!r} cannot be in a host's name")
    if any(part.startswith("-") for part in host.removeprefix("ssh://").split("@")):
        raise BadHost(f"host {host!r}: a host's name, or a user's, does not begin with '-'")
    _check_brackets(host)
    _check_port(host)
    return host


def _check_brackets(host: str) -> None:
    """Make sure that what looks like ``[IPV6]`` or ``[IPV6]:PORT`` is that."""
    rest = host.removeprefix("ssh://").rpartition("@")[2]
    if "[" not in host and "]" not in host:
        return
    address, closed, port = rest.removeprefix("[").partition("]")
    number = port.removeprefix(":")
    well = rest.startswith("[") and closed and ":" in address and not address.startswith("-")
    if not well or (port and not (port.startswith(":") and number.isascii() and number.isdecimal())):
        raise BadHost(f"host {host!r}: an address in brackets is [IPV6] or [IPV6]:PORT")


def _check_port(host: str) -> None:
    name, colon, port = host.removeprefix("ssh://").rpartition(":")
    is_port = colon and (":" not in name or name.endswith("]")) and port.isascii() and port.isdecimal()
    if is_port and not 0 < int(port) <= _PORT_MAX:
        raise BadHost(f"host {host!r}: a port is 1 to {_PORT_MAX}, not {port}")


def environment(*, prompts: bool, passes_on: bool = False) -> dict[str, str]:
    """The environment of ssh: the user's own, with messages in one language.

    Args:
        prompts: Whether a person is there to be asked. The ssh that goes to a jump host learns it from here alone.
        passes_on: Whether what is started there goes on with the language that ssh is often told to send.
    """
    language = {} if passes_on else {"LC_ALL": "C"}
    return os.environ | language | ({} if prompts else {"SSH_ASKPASS_REQUIRE": "never"})


def bridge(host: str, control: str, timeout_s: float, *, makes: bool, prompts: bool) -> list[str]:
    """Run ``launch bridge`` on a host, over its master.

    Args:
        host: Checked already.
        control: The master's socket, or ``NO_CONTROL``.
        timeout_s: How long connecting may take.
        makes: Whether the master is made where there is none: only one may do that at a time.
        prompts: Whether a person is there to be asked.
    """
    master = ["ControlMaster=auto", f"ControlPersist={KEEP_S}"] if makes else ["ControlMaster=no"]
    return _run(host, control.replace("%", "%%"), master, "exec launch bridge", timeout_s, prompts=prompts)


def serve(host: str, control: str, timeout_s: float, *, prompts: bool) -> list[str]:
    """Run ``launch serve`` on a host, over its master where it has one; for the arguments see ``bridge``.

    Where a shell there says by LAUNCH_HOSTS for which hosts commands are, this one is for itself.
    """
    remote = "exec env LAUNCH_HOSTS= launch serve --background"
    return _run(host, control.replace("%", "%%"), ["ControlMaster=no"], remote, timeout_s, prompts=prompts)


def doctor(host: str, timeout_s: float) -> list[str]:
    """Run ``launch doctor --answer`` on a host, over a connection of its own: that one can be had is to be found out.

    Args:
        host: Checked already.
        timeout_s: How long connecting may take.
    """
    return _run(host, NO_CONTROL, ["ControlMaster=no"], "exec launch doctor --answer", timeout_s, prompts=False)


def _run(host: str, control: str, master: list[str], remote: str, timeout_s: float, *, prompts: bool) -> list[str]:
    options = [
        *master,
        # Whoever waits for it gives up first, and knows better what to say.
        f"ConnectTimeout={math.ceil(timeout_s) + 1}",
        "ConnectionAttempts=1",
        f"ServerAliveInterval={ALIVE_S}",
        f"ServerAliveCountMax={ALIVE_TRIES}",
        "ClearAllForwardings=yes",
        "PermitLocalCommand=no",
        "RemoteCommand=none",
        "RequestTTY=no",
        "EscapeChar=none",
        "LogLevel=INFO",
    ]
    if not prompts:
        options.append("BatchMode=yes")
    command = ["ssh", "-a", "-x", "-T", "-S", control]
    for option in options:
        command += ["-o", option]
    return [*command, *destination(host), remote]


def destination(host: str) -> list[str]:
    """A host as ssh takes it, which knows ``HOST:PORT`` in a URI alone, and no brackets around an IPv6 address."""
    user, at, rest = host.removeprefix("ssh://").rpartition("@")
    address, closed, port = rest.removeprefix("[").partition("]")
    if rest.startswith("[") and closed and ":" in address:
        options = ["-p", port.removeprefix(":")] if port else []
        return [*options, "--", f"{user}{at}{address}"]
    name, colon, port = host.rpartition(":")
    return ["--", f"ssh://{host}" if colon and ":" not in name and port.isascii() and port.isdecimal() else host]
