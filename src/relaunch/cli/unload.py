"""``launch unload``: ends jobs, and has the launcher forget them.

Knows labels and files. Refuses to know how a file is read (``job_files``).
"""

from __future__ import annotations

from relaunch.cli.outcomes import tell, told
from relaunch.client.calls import unload
from relaunch.client.quick import Client
from relaunch.errors import NoSuchLabel, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from relaunch.cli.grammar import Arguments
    from relaunch.cli.over import Over

    Wire = dict[str, Any]


def run(arguments: Arguments) -> int:
    """Unload jobs and say so of each."""
    from relaunch.cli.job_files import is_path, read_here

    typed = arguments["patterns"]
    entries = read_here(text for text in typed if is_path(text))
    patterns = [text for text in typed if not is_path(text)]
    patterns += [entry.spec.label for entry in entries]
    # What a file says is not to be loaded need not be.
    optional = {entry.spec.label for entry in entries if entry.disabled}
    outcomes = Client().call(unload(list(dict.fromkeys(patterns)), arguments["timeout"]))
    left_out = NoSuchLabel().wire_name
    told_of = [it for it in outcomes if not (it["label"] in optional and it.get("error") == left_out)]
    return tell(told_of, _done, as_json=arguments["json"])


def run_over(over: Over, arguments: Arguments) -> int:
    """Unload jobs on many hosts and say so of each."""
    from relaunch.cli.job_files import is_path
    from relaunch.cli.many import request
    from relaunch.cli.results import Results

    for text in arguments["patterns"]:
        if is_path(text):
            raise Usage(f"{text!r}: with -H, jobs are unloaded by label; a file is of this host")
    results = Results(over, lambda host, outcomes: told(host, outcomes, _done), as_json=arguments["json"])
    return request(over, arguments, lambda its: unload(its["patterns"], arguments["timeout"]), results)


def _done(_outcome: Wire) -> str:
    return "unloaded"
