"""``launch submit``: starts a job."""

from __future__ import annotations

from relaunch.cli.output import write
from relaunch.cli.spec import spec_from
from relaunch.client.calls import submit
from relaunch.client.quick import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments


def run(arguments: Arguments) -> int:
    """Start a job and say that it runs."""
    job = Client().call(submit(spec_from(arguments)))
    write(
        f"{job['label']}: {job['state']}, pid {job['pid']}\n" if job.get("pid") else f"{job['label']}: {job['state']}\n"
    )
    return 0
