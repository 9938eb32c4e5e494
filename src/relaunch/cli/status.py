"""``launch status``: everything known of a job, or of the launcher.

Knows which facts are told, in which order. Refuses to know how a table or a time looks (``render``).
"""

from __future__ import annotations

from relaunch.cli.output import write
from relaunch.cli.render import command_line, end, facts, length, moment, state, subscription_state
from relaunch.client.calls import describe, get_status
from relaunch.client.quick import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from relaunch.cli.grammar import Arguments
    from relaunch.cli.over import Over
    from relaunch.client.calls import Call

    Wire = dict[str, Any]


def run(arguments: Arguments) -> int:
    """Tell of a job, or of the launcher."""
    label = arguments["label"]
    answer = Client().call(get_status() if label is None else describe(label))
    if arguments["json"]:
        import json

        write(json.dumps(_whole(answer), indent=2) + "\n")
    else:
        write(_shown_whole(answer))
    return 0


def run_over(over: Over, arguments: Arguments) -> int:
    """Tell of a job, or of the launcher, on each of many hosts."""
    from relaunch.cli.many import request
    from relaunch.cli.results import Results, Told

    def call(its: Arguments) -> Call:
        return get_status() if its["label"] is None else describe(its["label"])

    results = Results(over, lambda _host, _answer: Told(), show=_shown_all, as_json=arguments["json"], value=_whole)
    return request(over, arguments, call, results)


def _shown_all(answers: dict[str, Wire]) -> str:
    blocks = (
        f"{host}:\n" + "".join(f"  {line}\n" for line in _shown_whole(one).splitlines())
        for host, one in answers.items()
    )
    return "\n".join(blocks)


def _whole(answer: Wire) -> Wire:
    """Everything in one object."""
    if "job" not in answer:
        return answer
    whole: Wire = answer["job"] | {"spec": answer["spec"], "processes": answer["processes"]}
    return whole


def _shown_whole(answer: Wire) -> str:
    return _job(answer["job"], answer["spec"], answer["processes"]) if "job" in answer else _launcher(answer)


def _launcher(status: Wire) -> str:
    journal = status["journal"]
    jobs = ", ".join(f"{count} {word}" for word, count in sorted(status["jobs"].items()) if count)
    compacted = f"; compacted to {journal['compacted_to']}" if journal["compacted_to"] else ""
    return facts(
        [
            ("version", status["version"]),
            ("host", status["host"]),
            ("user", status["uid"]),
            ("keeper", f"pid {status['keeper_pid']}"),
            (
                "launcher",
                f"pid {status['launcher_pid']}, up {length(status['uptime_s'])}, start {status['launcher_starts']}",
            ),
            ("socket", status["socket"]),
            ("boot id", status["boot_id"]),
            ("jobs", jobs or "none"),
            ("journal", f"{journal['path']}, {journal['size_bytes']} bytes"),
            ("sequence", f"{journal['epoch']}/{journal['last_sequence']}{compacted}"),
            ("set aside", journal.get("set_aside")),
            ("problem", journal.get("problem")),
            ("subscribers", None if status["subscribers"] else "none"),
            *(("subscriber", _subscriber(one)) for one in status["subscribers"]),
        ]
    )


def _subscriber(one: Wire) -> str:
    behind = f", {one['behind']} behind" if one.get("behind") else ""
    return f"{one.get('name') or one['id']} at {one['transport']} {one['address']}, {subscription_state(one)}{behind}"


def _job(job: Wire, spec: Wire, processes: list[Wire]) -> str:
    ended = job.get("exit") or {}
    usage = ended.get("usage") or {}
    text = facts(
        [
            ("label", job["label"]),
            ("state", state(job)),
            ("program", command_line(job["argv"])),
            ("id", f"{job['id']}, run {job['run']}"),
            ("restarts", job["restarts"]),
            ("submitted", moment(job["submitted_at"])),
            ("started", moment(job.get("started_at"))),
            ("next start", _next(job.get("next_start_at"))),
            ("uptime", length(job["uptime_s"]) if job.get("uptime_s") is not None else None),
            ("last exit", _exit(ended) if ended else None),
            ("message", ended.get("message")),
            ("usage", _usage(usage) if usage else None),
            ("output", job.get("output")),
            *((name, _shown(value)) for name, value in _asked(spec).items()),
            *(("env", f"{name}={value}") for name, value in (spec.get("env") or {}).items()),
        ]
    )
    for process in processes:
        text += f"process    {process['pid']} (parent {process['ppid']})  {process['command']}\n"
    return text


def _exit(ended: Wire) -> str:
    how = end(ended)
    why = "" if how == ended["reason"] else f" ({ended['reason']})"
    return f"{how}{why} at {moment(ended.get('at'))}"


def _usage(usage: Wire) -> str:
    return f"user {usage['user_s']:.2f}s, system {usage['system_s']:.2f}s, at most {usage['rss_bytes_max'] // 1024} KiB"


def _next(at: float | None) -> str | None:
    import time

    return None if at is None else f"{moment(at)}, in {length(at - time.time())}"


def _asked(spec: Wire) -> Wire:
    """What was asked for, in the words of job files; without what is told in other lines."""
    from relaunch.jobfile.vocabulary import JOB, KEY_OF_FIELD

    fields = {name: value for name, value in spec.items() if name not in ("label", "argv", "env")}
    # A launcher of another version may have fields that no key is known of.
    known = {name: value for name, value in fields.items() if name in KEY_OF_FIELD}
    asked = JOB.write({"cluster": known.pop("origin", None), "label": spec["label"], "argv": spec["argv"], **known})
    for told in ("Label", "ProgramArguments", "ProgramArgs"):
        asked.pop(told, None)
    return asked | {name: value for name, value in fields.items() if name not in KEY_OF_FIELD}


def _shown(value: object) -> str | None:
    """A value of a job file in a line."""
    if value in (None, {}):
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(part)}" for key, part in value.items())
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return command_line(value)
    return "; ".join(str(_shown(item)) for item in value) if isinstance(value, list) else str(value)
