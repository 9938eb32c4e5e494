"""``launch submit``: starts a job."""

from __future__ import annotations

from relaunch.cli.output import write
from relaunch.cli.spec import spec_from
from relaunch.client.calls import submit
from relaunch.client.quick import Client, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from relaunch.cli.grammar import Arguments
    from relaunch.cli.over import Over
    from relaunch.cli.results import Told

    Wire = dict[str, Any]


def run(arguments: Arguments) -> int:
    """Start a job and say that it runs."""
    job = Client().call(submit(spec_from(arguments)))
    if arguments["json"]:
        write(encode(job) + "\n")
        return 0
    write(
        f"{job['label']}: {job['state']}, pid {job['pid']}\n" if job.get("pid") else f"{job['label']}: {job['state']}\n"
    )
    return 0


def run_over(over: Over, arguments: Arguments) -> int:
    """Start a job on each of many hosts and say that it runs."""
    from relaunch.cli.many import request, request_id
    from relaunch.cli.results import Results
    from relaunch.cli.spec import spec_elsewhere

    request_name = request_id()
    results = Results(over, _told, as_json=arguments["json"])
    return request(over, arguments, lambda its: submit(spec_elsewhere(its), request_name), results)


def _told(_host: str, job: Wire) -> Told:
    from relaunch.cli.results import Line, Told

    words = f"{job['label']}: {job['state']}"
    return Told([Line(f"{words}, pid {job['pid']}" if job.get("pid") else words, words)])
