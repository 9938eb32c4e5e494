"""``launch list``: the jobs there are."""

from __future__ import annotations

import os

from relaunch.cli.output import STDOUT, write
from relaunch.client.calls import list_jobs
from relaunch.client.quick import Client, encode_array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from relaunch.cli.grammar import Arguments
    from relaunch.cli.over import Over

    Wire = dict[str, Any]


def run(arguments: Arguments) -> int:
    """List jobs."""
    jobs = Client().call(list_jobs(arguments["patterns"]))
    if arguments["json"]:
        write(encode_array(jobs))
    else:
        from relaunch.cli.render import jobs_table

        write(jobs_table(jobs, terminal=os.isatty(STDOUT)))
    return 0


def run_over(over: Over, arguments: Arguments) -> int:
    """List the jobs of many hosts, in one table."""
    from relaunch.cli.many import request
    from relaunch.cli.results import Results, Told

    results = Results(over, lambda _host, _jobs: Told(), show=_shown, as_json=arguments["json"])
    return request(over, arguments, lambda its: list_jobs(its["patterns"]), results)


def _shown(jobs_of: dict[str, list[Wire]]) -> str:
    from relaunch.cli.render import jobs_table

    rows = [(host, job) for host, jobs in jobs_of.items() for job in jobs]
    return jobs_table([job for _, job in rows], terminal=os.isatty(STDOUT), hosts=[host for host, _ in rows])
