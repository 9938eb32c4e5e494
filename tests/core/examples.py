"""What hypothesis draws from: specs, exits, and jobs in every state.

Knows the model's fields and their bounds, as a user would. Refuses to know how they are parsed and stored.
"""

import string
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from relaunch.core.job import Ask, Backoff, Ending, Finished, Job, Running, Starting, Stopping
from relaunch.fields import DURATION_S_MAX, LIMIT_NAMES
from relaunch.model import Exit, JobSpec
from relaunch.policy import CalendarEntry, KeepAlive, Ready, RestartLimit, SocketSpec, Spacing

# The same examples at each run, and no failure because a machine was busy.
repeatable = settings(deadline=None, derandomize=True, max_examples=15, database=None)

parts = st.text(string.ascii_letters + string.digits + "._-@:+=~", min_size=1, max_size=12).filter(
    lambda part: part not in (".", "..")
)
labels = st.lists(parts, min_size=1, max_size=4).map("/".join).filter(lambda label: not label.startswith("-"))
texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8)
names = texts.filter(bool)
durations = st.floats(0, DURATION_S_MAX)
times = st.floats(0, 4e9)
bounds = st.one_of(st.none(), st.integers(0, 2**63 - 1))
some_time = st.floats(0.001, DURATION_S_MAX)
paths = names.map(lambda name: f"/{name}")


def some_of(kind: type[Any], **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A part of a spec with any of its fields."""
    return st.fixed_dictionaries({}, optional=parts).map(lambda found: kind(**found))


def several(item: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(item, max_size=2, unique=True).map(tuple)


def ordered(pair: tuple[int | None, int | None]) -> tuple[int | None, int | None]:
    low, high = sorted(pair, key=lambda bound: (bound is None, bound or 0))
    return low, high


readiness = st.one_of(
    some_of(Ready, timeout_s=some_time, interval_s=some_time, command=st.tuples(names, texts)).filter(
        lambda it: it.command
    ),
    st.builds(Ready, port=st.integers(1, 65535), host=st.none() | names),
    st.just(Ready(log_line="^listening")),
    st.just(Ready(notify=True)),
)
sockets = st.one_of(
    st.builds(
        SocketSpec, kind=st.sampled_from(["stream", "dgram", "seqpacket"]), path=paths, mode=st.integers(0, 0o777)
    ),
    st.builds(
        SocketSpec,
        kind=st.sampled_from(["stream", "dgram"]),
        port=st.integers(0, 65535),
        host=st.none() | names,
        family=st.sampled_from(["ipv4", "ipv6", None]),
    ),
)
conditions = some_of(
    KeepAlive,
    successful_exit=st.booleans(),
    crashed=st.booleans(),
    paths=st.dictionaries(paths, st.booleans(), max_size=2),
    other_jobs=st.dictionaries(labels, st.booleans(), max_size=2),
)
env_names = names.filter(lambda name: "=" not in name and not name.startswith("LAUNCH_JOB_"))
optional_fields: dict[str, st.SearchStrategy[Any]] = {
    "program": names,
    "env": st.dictionaries(env_names, texts, max_size=3),
    "cwd": names,
    "stdin": names,
    "stdout": names,
    "stderr": names,
    "run_at_load": st.booleans(),
    "launch_only_once": st.booleans(),
    "start_interval_s": some_time,
    "start_calendar": several(
        some_of(
            CalendarEntry,
            minute=st.integers(0, 59),
            hour=st.integers(0, 23),
            day=st.integers(1, 31),
            weekday=st.integers(0, 7),
            month=st.integers(1, 12),
        )
    ),
    "watch_paths": several(paths),
    "queue_directories": several(paths),
    "depends_on": several(labels),
    "ready": readiness,
    "throttle_s": durations,
    "backoff": some_of(Spacing, initial_s=some_time, max_s=some_time, factor=st.floats(1, 100), jitter=st.floats(0, 1)),
    "restart_limit": st.builds(RestartLimit, count=st.integers(0, 1000), within_s=some_time),
    "abandon_process_group": st.booleans(),
    "globbing": st.booleans(),
    "sockets": st.dictionaries(
        st.text(string.ascii_letters, min_size=1, max_size=4),
        st.lists(sockets, min_size=1, max_size=2, unique=True).map(tuple),
    ),
    "user": names,
    "group": names,
    "low_priority_io": st.booleans(),
    "origin": names,
    "stop_timeout_s": durations,
    "stop_signal": st.sampled_from("TERM INT KILL HUP USR1 RTMIN 40".split()),
    "umask": st.integers(0, 0o777),
    "nice": st.integers(-20, 19),
    "limits": st.dictionaries(st.sampled_from(sorted(LIMIT_NAMES)), st.tuples(bounds, bounds).map(ordered), max_size=3),
    "output_bytes_max": st.integers(4096, 2**50),
}
argvs = st.tuples(names, st.lists(texts, max_size=3)).map(lambda words: (words[0], *words[1]))
required_fields: dict[str, st.SearchStrategy[Any]] = {"label": labels, "argv": argvs}
kept = st.one_of(
    st.just({}), st.just({"keep_alive": True}), conditions.map(lambda conditions: {"keep_alive_when": conditions})
)


def _spec(found: dict[str, Any], keeping: dict[str, Any]) -> JobSpec:
    depends_on = tuple(label for label in found.pop("depends_on", ()) if label != found["label"])
    return JobSpec(**found, **keeping, depends_on=depends_on)


specs = st.builds(_spec, st.fixed_dictionaries(required_fields, optional=optional_fields), kept)

usages = st.none() | st.fixed_dictionaries({"user_s": durations, "system_s": durations, "rss_bytes_max": durations})
exits = st.builds(
    Exit,
    reason=st.sampled_from("exited crashed stopped shutdown start-failed unknown".split()),
    code=st.none() | st.integers(0, 255),
    signal=st.none() | st.sampled_from(["TERM", "SEGV"]),
    core_dumped=st.booleans(),
    message=st.none() | texts,
    at=times,
    usage=usages,
)

pids = st.integers(1, 2**22)
asks = st.builds(
    Ask,
    signal=st.integers(1, 64),
    grace_s=st.none() | durations,
    why=st.sampled_from(["stopped", "shutdown"]),
    restart=st.booleans(),
)
states = st.one_of(
    st.builds(Starting, since=times, ask=st.none() | asks),
    st.builds(Running, pid=pids, ticks=pids, since=times),
    st.builds(Stopping, pid=pids, ticks=pids, since=times, ask=asks, kill_at=st.none() | times, killed=st.booleans()),
    st.builds(Ending, started=times, ask=st.none() | asks, kill_at=st.none() | times, killed=st.booleans()),
    st.builds(Backoff, retry_at=times),
    st.just(Finished()),
)
jobs = st.builds(
    Job,
    id=st.text(string.hexdigits, min_size=1, max_size=16),
    spec=specs,
    submitted_at=times,
    state=states,
    run=st.integers(1, 1000),
    restarts=st.integers(0, 1000),
    started_at=st.none() | times,
    exit=st.none() | exits,
    adopted=st.booleans(),
    request=st.none() | st.just("r-1"),
)
