"""What the text of an option means: text in, value out.

Each function raises ValueError with the line for the user. Knows the forms that a person types. Refuses to know the
bounds of a job's spec, which the launcher checks.
"""

# As in relaunch.fields, which would bring re and dataclasses with it.
DURATION_S_MAX = 10 * 365 * 86400
TRANSPORTS = ("quic", "tcp")
JOB_FORMATS = ("json", "toml", "plist", "binary")
_SIZES = {"K": 2**10, "M": 2**20, "G": 2**30}


def text(given: str) -> str:
    """Any text that is not empty."""
    if not given:
        raise ValueError("must not be empty")
    return given


def whole(given: str) -> int:
    """A whole number, perhaps negative."""
    digits = given[1:] if given[:1] in ("-", "+") else given
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 19):
        raise ValueError(f"{given!r} is not a whole number")
    return int(given)


def count(given: str) -> int:
    """How many of something."""
    number = whole(given)
    if number < 0:
        raise ValueError(f"{given!r} is less than nothing")
    return number


def seconds(given: str) -> float:
    """A length of time in seconds, such as ``5`` or ``0.5``."""
    digits = given.replace(".", "", 1)
    if not (digits.isascii() and digits.isdecimal()) or float(given) > DURATION_S_MAX:
        raise ValueError(f"{given!r} is not a number of seconds from 0 to ten years")
    return float(given)


def some(given: str) -> int:
    """How many of something, at least one."""
    number = count(given)
    if number == 0:
        raise ValueError("0 is none at all; give 1 or more")
    return number


def some_seconds(given: str) -> float:
    """A length of time in seconds that is not nothing."""
    length_s = seconds(given)
    if length_s == 0:
        raise ValueError("0 seconds is no time at all; give more")
    return length_s


def suspicion(given: str) -> float:
    """The length of a silence in seconds, after which a host is suspected."""
    from relaunch.core.liveness import SUSPECT_AFTER_S_MAX, SUSPECT_AFTER_S_MIN  # heavy, and for one option only

    length_s = seconds(given)
    if not SUSPECT_AFTER_S_MIN <= length_s <= SUSPECT_AFTER_S_MAX:
        raise ValueError(f"{given!r} is not from {SUSPECT_AFTER_S_MIN} to {SUSPECT_AFTER_S_MAX:g} seconds")
    return length_s


def transport(given: str) -> str:
    """How events travel."""
    if given not in TRANSPORTS:
        raise ValueError(f"{given!r} is no transport; there are {' and '.join(TRANSPORTS)}")
    return given


def job_format(given: str) -> str:
    """How a job file is written."""
    if given not in JOB_FORMATS:
        raise ValueError(f"{given!r} is no format; there are {', '.join(JOB_FORMATS)}")
    return given


def some_or_transport(given: str) -> int | str:
    """How many, or how events travel: ``5`` or ``tcp``."""
    if given in TRANSPORTS:
        return given
    if given[:1].isdecimal():
        return some(given)
    raise ValueError(f"{given!r} is neither a number of events nor a transport ({', '.join(TRANSPORTS)})")


def octal(given: str) -> int:
    """A file mode mask in octal digits, such as ``022``."""
    if not given or given.strip("01234567") or int(given, 8) > 0o777:
        raise ValueError(f"{given!r} is not an octal number from 0 to 777")
    return int(given, 8)


def size(given: str) -> int:
    """A number of bytes, with K, M or G for powers of 1024."""
    factor = _SIZES.get(given[-1:].upper(), 1)
    digits = given[:-1] if factor > 1 else given
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 19):
        raise ValueError(f"{given!r} is not a number of bytes such as 65536, 64K, 16M or 1G")
    return int(digits) * factor


def assignment(given: str) -> tuple[str, str]:
    """A name and a value from ``NAME=VALUE``."""
    name, equals, value = given.partition("=")
    if not name or not equals:
        raise ValueError(f"{given!r} is not of the form NAME=VALUE")
    return name, value
