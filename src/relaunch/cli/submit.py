"""``launch submit``: starts a job.

Knows what is answered. Refuses to know what a spec holds (``spec``).
"""

from __future__ import annotations

from relaunch.cli.output import write
from relaunch.cli.spec import spec_from
from relaunch.client.calls import Call, submit
from relaunch.client.quick import Client, call_until_answered, encode
from relaunch.errors import from_wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from relaunch.cli.grammar import Arguments
    from relaunch.cli.over import Over
    from relaunch.cli.results import Told

    Wire = dict[str, Any]


class _AwaitReady(Call):
    """Wait for one job to be ready; the answer is a Job, or why it is not."""

    __slots__ = ()

    def __init__(self, label: str, timeout_s: float | None) -> None:
        super().__init__("AwaitReady", {"patterns": [label], "timeout_s": timeout_s}, "outcomes", slow=True)

    def read(self, reply: Wire) -> Any:
        """See ``Call``."""
        (outcome,) = super().read(reply)
        if outcome.get("error") is not None:
            raise from_wire(outcome["error"], {"message": outcome.get("message")})
        return outcome["job"]


def run(arguments: Arguments) -> int:
    """Start a job and say that it runs, or is ready."""
    job = Client().call(submit(spec_from(arguments)))
    if arguments["wait_ready"]:
        job = call_until_answered(_AwaitReady(job["label"], arguments["ready_timeout"]))
    if arguments["json"]:
        write(encode(job) + "\n")
        return 0
    write(
        f"{job['label']}: {job['state']}, pid {job['pid']}\n" if job.get("pid") else f"{job['label']}: {job['state']}\n"
    )
    return 0


def run_over(over: Over, arguments: Arguments) -> int:
    """Start a job on each of many hosts and say that it runs, or is ready."""
    from relaunch.cli.many import request, request_id
    from relaunch.cli.results import Results
    from relaunch.cli.spec import spec_elsewhere

    request_name = request_id()
    results = Results(over, _told, as_json=arguments["json"])

    def wait(job: Wire) -> Call:
        return _AwaitReady(job["label"], arguments["ready_timeout"])

    return request(
        over,
        arguments,
        lambda its: submit(spec_elsewhere(its), request_name),
        results,
        then=wait if arguments["wait_ready"] else None,
    )


def _told(_host: str, job: Wire) -> Told:
    from relaunch.cli.results import Line, Told

    words = f"{job['label']}: {job['state']}"
    return Told([Line(f"{words}, pid {job['pid']}" if job.get("pid") else words, words)])
