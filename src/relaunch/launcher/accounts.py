"""Whom a job runs as: the names of users and groups as this host's own tables have them at the moment.

Refuses to know how a process becomes a user, and when a job is started.
"""

import grp
import os
import pwd
from dataclasses import dataclass, field

from relaunch.errors import BadSpec
from relaunch.fields import Wire
from relaunch.model import JobSpec

# The kernel takes the last one for "as it is".
_ID_MAX = 2**32 - 2
_SHELL = "/bin/sh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who a job is.

    Attributes:
        user: As the keeper is told; None where it is who the launcher is.
        env: What tells the job so.
    """

    user: Wire | None = None
    env: dict[str, str] = field(default_factory=dict)


def account_of(spec: JobSpec) -> Account:
    """Who a job of this spec is.

    Raises:
        BadSpec: There is no such user or group, or it is one that this launcher may not choose; the line names it.
    """
    if spec.user is None and spec.group is None:
        return Account()
    uid, entry = (os.geteuid(), _entry(os.geteuid())) if spec.user is None else _user(spec.user)
    gid = _group(spec.group, entry, uid)
    env = {} if spec.user is None else _env(uid, entry)
    if (uid, gid) == (os.geteuid(), os.getegid()):
        return Account(env=env)
    if os.geteuid() != 0:
        name, value = ("user", spec.user) if uid != os.geteuid() else ("group", spec.group)
        raise BadSpec(f"{name}: only a launcher that root runs may choose {value}; leave it out, or name its own")
    groups = [gid] if entry is None else os.getgrouplist(entry.pw_name, gid)
    return Account(user={"uid": uid, "gid": gid, "groups": groups}, env=env)


def check_account(spec: JobSpec) -> None:
    """Refuse a spec that could not be started here for the user or group that it names.

    Raises:
        BadSpec: As ``account_of``; the line begins with the label.
    """
    try:
        account_of(spec)
    except BadSpec as error:
        raise BadSpec(f"{spec.label}: {error}") from None


def _user(name: str) -> tuple[int, pwd.struct_passwd | None]:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        uid = _number(name)
        if uid is None:
            raise BadSpec(f"user: this host has no user {name!r}") from None
        return uid, _entry(uid)
    return entry.pw_uid, entry


def _group(name: str | None, entry: pwd.struct_passwd | None, uid: int) -> int:
    if name is None:
        if entry is None:
            raise BadSpec(f"group: must be given, as this host has no user of the number {uid} who would have one")
        return entry.pw_gid
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        gid = _number(name)
        if gid is None:
            raise BadSpec(f"group: this host has no group {name!r}") from None
        return gid


def _entry(uid: int) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        return None


def _number(text: str) -> int | None:
    """The id that plain digits stand for."""
    plain = text.isascii() and text.isdecimal() and len(text) <= len(str(_ID_MAX))
    return int(text) if plain and int(text) <= _ID_MAX else None


def _env(uid: int, entry: pwd.struct_passwd | None) -> dict[str, str]:
    name, home, shell = (str(uid), "/", "") if entry is None else (entry.pw_name, entry.pw_dir, entry.pw_shell)
    return {"HOME": home or "/", "USER": name, "LOGNAME": name, "SHELL": shell or _SHELL}
