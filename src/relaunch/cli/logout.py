"""Whether the end of a login session would take the launcher, or its socket, with it.

Knows what systemd-logind does then (logind.conf(5)) and where it leaves its marks in the file system. Refuses to ask
it: where no bus is, the answer is the same.
"""

from __future__ import annotations

import glob
import os
import pwd

from relaunch.client.finding import Finding, ok, warn

CHECK = "logout"
_CONFIGURATION = ("etc/systemd/logind.conf", "run/systemd/logind.conf", "usr/lib/systemd/logind.conf")
_YES = ("1", "yes", "y", "true", "t", "on")


def look(pid: int, runtime: str, *, uid: int | None = None, root: str = "/") -> Finding:
    """What becomes of a launcher at a logout.

    Args:
        pid: The keeper, or who would become it.
        runtime: The directory of the socket.
        uid: Whose it is; None means this user's.
        root: Where the file system's root is.
    """
    uid = os.getuid() if uid is None else uid
    if not os.path.isdir(os.path.join(root, "run/systemd/system")):
        return ok(CHECK, "no systemd here: nothing ends with a login")
    user = _name_of(uid)
    if os.path.exists(os.path.join(root, "var/lib/systemd/linger", user)):
        lingers = True
    else:
        lingers = False
        if f"/user@{uid}.service/" in _control_group(root, pid):
            return _risk("it runs under the user's service manager, which ends with the last logout", user)
        if runtime == f"/run/user/{uid}" or runtime.startswith(f"/run/user/{uid}/"):
            return _risk(f"its socket is in /run/user/{uid}, which is removed at the last logout", user)
    if _in_session(root, pid) and _kills(root, user):
        advice = f"start it outside of a session: loginctl enable-linger {user}, then systemd-run --user launch serve"
        return warn(
            CHECK, "it runs in a login session, and KillUserProcesses has logind kill what a session leaves", advice
        )
    return ok(CHECK, "it outlives the login" + (" (lingering)" if lingers else ""))


def _risk(text: str, user: str) -> Finding:
    return warn(CHECK, text, f"loginctl enable-linger {user}")


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _control_group(root: str, pid: int) -> str:
    try:
        with open(os.path.join(root, f"proc/{pid}/cgroup"), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _in_session(root: str, pid: int) -> bool:
    return any(
        part.startswith("session-") and part.endswith(".scope")
        for line in _control_group(root, pid).splitlines()
        for part in line.split("/")
    )


def _kills(root: str, user: str) -> bool:
    """Whether KillUserProcesses holds for a user: the first of the main files counts, then what is dropped in."""
    main = next((path for name in _CONFIGURATION if os.path.exists(path := os.path.join(root, name))), None)
    dropped: dict[str, str] = {}
    for name in reversed(_CONFIGURATION):
        for path in glob.glob(os.path.join(glob.escape(root), f"{name}.d", "*.conf")):
            dropped[os.path.basename(path)] = path
    settings = {"KillUserProcesses": "no", "KillOnlyUsers": "", "KillExcludeUsers": "root"}
    for path in [*([main] if main else []), *(dropped[name] for name in sorted(dropped))]:
        settings |= _read(path)
    only, excluded = settings["KillOnlyUsers"].split(), settings["KillExcludeUsers"].split()
    return settings["KillUserProcesses"].lower() in _YES and user not in excluded and (not only or user in only)


def _read(path: str) -> dict[str, str]:
    found = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                name, equals, value = line.partition("=")
                if equals and not name.lstrip().startswith(("#", ";")):
                    found[name.strip()] = value.strip()
    except OSError:
        return {}
    return found
