"""``launch run``: starts a job, shows its output, passes signals on to it, and ends as it does.

Refuses to know how the jobs of many hosts are followed (``runs``).
"""

from __future__ import annotations

import os
import signal
from binascii import a2b_base64

from relaunch.cli.ended import exit_status
from relaunch.cli.grammar import PROGRAM
from relaunch.cli.output import OutputFailed, say, write_bytes
from relaunch.cli.render import end
from relaunch.cli.spec import spec_from
from relaunch.client.calls import list_jobs, logs, send_signal, stop, submit, wait
from relaunch.client.quick import Client, call_until_answered
from relaunch.errors import OutcomeUnknown, RelaunchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from relaunch.cli.grammar import Arguments
    from relaunch.cli.over import Over

ENDING = ("INT", "TERM", "HUP", "QUIT")
BETWEEN_RUNS = ("backoff", "waiting")
"""The states in which nothing of a job runs that a signal could end; where it is to end it, the job is stopped."""
PASSED_ON = (*ENDING, "USR1", "USR2")
# What a program of the shell would end by; of PIPE the job is told when its reader has gone.
FATAL = (*ENDING, "PIPE")
_LABEL_ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.@:+=~-")
_LABEL_PROGRAM_CHARACTERS_MAX = 100


def run(arguments: Arguments) -> int:
    """Run a job as if it were a program of the shell."""
    reused = arguments["label"] is not None
    if not reused:
        arguments["label"] = invented_label(arguments[PROGRAM][0])
    # From here on signals are the job's. One that comes before the job runs waits until it does.
    signals = {getattr(signal, f"SIG{name}") for name in PASSED_ON}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    label = Client().call(submit(spec_from(arguments)))["label"]
    for name in PASSED_ON:
        signal.signal(getattr(signal, f"SIG{name}"), lambda number, _frame: _pass_on(label, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    if arguments["stdout"] is None:
        _follow(label, reused=reused)
    job = call_until_answered(wait([label]))[0]
    status = exit_status(job)
    if status and (job["exit"] or {}).get("code") is None:
        say(f"{label} ended: {end(job['exit'])}")
    return status


def run_over(over: Over, arguments: Arguments) -> int:
    """Run a job on each of many hosts, and end as the first one that does not end with 0."""
    from relaunch.cli.results import say_failure, status_of_all, told_of_failure
    from relaunch.cli.runs import Runs
    from relaunch.cli.spec import spec_elsewhere
    from relaunch.cli.substitution import substituted

    reused = arguments["label"] is not None
    if not reused:
        arguments["label"] = invented_label(arguments[PROGRAM][0])
    specs = {host: spec_elsewhere(substituted(arguments, over.hosts, i)) for i, host in enumerate(over.hosts)}
    answers: dict[str, Any] = {}

    def took(host: str, answer: Any) -> None:
        answers[host] = answer
        if isinstance(answer, RelaunchError):
            say_failure(host, answer)
        elif exit_status(answer):
            say(f"{host}: {answer['label']} ended: {end(answer['exit'])}")

    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    Runs(over, specs, took, shows=arguments["stdout"] is None, reused=reused).run(PASSED_ON)
    ends = [answers[host] for host in over.hosts]
    failures = [told_of_failure("", one).status if isinstance(one, RelaunchError) else 0 for one in ends]
    if any(failures):
        return status_of_all(failures)
    return next(filter(None, map(exit_status, ends)), 0)


def invented_label(program: str) -> str:
    """A label that no other run has, and that shows the program."""
    base = "".join(c if c in _LABEL_ALPHABET else "_" for c in os.path.basename(program))
    return f"run/{base[:_LABEL_PROGRAM_CHARACTERS_MAX] or 'job'}-{os.getpid()}-{os.urandom(3).hex()}"


def _pass_on(label: str, number: int) -> None:
    name = signal.Signals(number).name.removeprefix("SIG")
    try:
        (outcome,) = Client().call(send_signal([label], name))
        message = outcome.get("message")
        if message and name in FATAL and Client().call(list_jobs([label]))[0]["state"] in BETWEEN_RUNS:
            Client().call(stop([label]))
            return
    except RelaunchError as error:
        message = error.message
    if message:
        say(f"{label}: the signal was not passed on: {message}")


def _follow(label: str, *, reused: bool) -> None:
    """Show its output, and none of the jobs that had the label before, if any may have."""
    try:
        for piece in Client().stream(logs(label, follow=True, since_submit=reused)):
            write_bytes(a2b_base64(piece))
    except OutcomeUnknown:
        say(f"{label}: the launcher went away while its output was shown; the rest is in: launch logs {label}")
    except OutputFailed as error:
        if not isinstance(error.__cause__, BrokenPipeError):
            raise
        # The reader has gone; a program of the shell would be told by this signal.
        _pass_on(label, signal.SIGPIPE)
