"""``launch list``: the jobs there are."""

from __future__ import annotations

import os

from relaunch.cli.output import STDOUT, write
from relaunch.client.calls import list_jobs
from relaunch.client.quick import Client, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments


def run(arguments: Arguments) -> int:
    """List jobs."""
    jobs = Client().call(list_jobs(arguments["patterns"]))
    if arguments["json"]:
        write("[" + ",\n ".join(map(encode, jobs)) + "]\n")
    else:
        from relaunch.cli.render import jobs_table

        write(jobs_table(jobs, terminal=os.isatty(STDOUT)))
    return 0
