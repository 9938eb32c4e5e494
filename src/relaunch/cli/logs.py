"""``launch logs``: a job's output, byte for byte.

Refuses to know where it is kept, and in which encoding it is.
"""

from __future__ import annotations

from binascii import a2b_base64

from relaunch.cli.output import wait_with_reader, write_bytes
from relaunch.client.calls import logs
from relaunch.client.quick import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.cli.grammar import Arguments
    from relaunch.cli.over import Over


def run(arguments: Arguments) -> int:
    """Show a job's output."""
    wait = wait_with_reader if arguments["follow"] else None
    for piece in Client().stream(logs(arguments["label"], arguments["lines"], follow=arguments["follow"]), wait):
        write_bytes(a2b_base64(piece))
    return 0


def run_over(over: Over, arguments: Arguments) -> int:
    """Show the output of a job on each of many hosts, line by line, each after its host."""
    from relaunch.cli.remote import show_logs
    from relaunch.cli.results import say_failure, status_of_all, told_of_failure
    from relaunch.cli.substitution import substituted
    from relaunch.errors import RelaunchError

    statuses: list[int] = []

    def took(host: str, answer: object) -> None:
        if isinstance(answer, RelaunchError):
            say_failure(host, answer)
            statuses.append(told_of_failure(host, answer).status)
        else:
            statuses.append(0)

    labels = {host: substituted(arguments, over.hosts, i)["label"] for i, host in enumerate(over.hosts)}
    show_logs(over, labels, arguments["lines"], took, follow=arguments["follow"])
    return status_of_all(statuses)
