"""The whole command line as one table: every command, option and argument, with its help and an example.

Knows what may be typed. Refuses to know how it is parsed (``recogniser``, ``parser``) and what is done then (one module
for each command). Imports next to nothing, since every command reads it.
"""

from __future__ import annotations

from relaunch.cli.values import (
    assignment,
    count,
    job_format,
    octal,
    seconds,
    size,
    some,
    some_or_transport,
    some_seconds,
    suspicion,
    text,
    transport,
    whole,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Arguments = dict[str, Any]

PROGRAM = "program"
"""The argument under which a program and what follows it are found."""
PROGRAM_MARKS = ("-p", "--program", "--")


class Option:
    """An option, by its ``flags`` as typed. Where ``metavar`` is empty it has no value; else ``read`` makes it."""

    __slots__ = ("completes", "default", "dest", "flags", "help", "metavar", "read", "repeats", "required")

    def __init__(
        self,
        flags: str,
        metavar: str,
        summary: str,
        read: Callable[[str], object] = text,
        *,
        repeats: bool = False,
        required: bool = False,
        completes: str = "",
    ) -> None:
        self.flags = flags.split()
        self.dest = self.flags[-1].lstrip("-").replace("-", "_")
        self.metavar = metavar
        self.help = summary
        self.read = read
        self.repeats = repeats
        self.required = required
        self.completes = completes
        self.default: object = None if metavar else False


class Argument:
    """A positional argument. ``many`` is empty for one, ``?`` for one or none, ``*`` for any number, ``+`` for some."""

    __slots__ = ("choices", "completes", "dest", "help", "many", "metavar")

    def __init__(
        self, metavar: str, many: str, summary: str, *, choices: Sequence[str] = (), completes: str = ""
    ) -> None:
        self.dest = metavar.lower() + ("s" if many in ("*", "+") else "")
        self.metavar = metavar
        self.many = many
        self.help = summary
        self.choices = choices
        self.completes = completes


class Command:
    """A command: its name is also that of the module in ``relaunch.cli`` whose ``run(arguments)`` carries it out.

    ``takes_program`` is true where a program has to follow, and ``?`` where one may. ``stray`` is what to say of a word
    that is one too many.
    """

    __slots__ = ("arguments", "description", "example", "flags", "name", "options", "stray", "summary", "takes_program")

    def __init__(
        self,
        name: str,
        summary: str,
        parts: Sequence[Option | Argument],
        *,
        example: str,
        description: str = "",
        takes_program: bool | str = False,
        stray: str = "",
    ) -> None:
        self.name = name
        self.summary = summary
        self.description = description
        self.example = example
        self.takes_program = takes_program
        self.stray = stray
        self.options = [part for part in parts if isinstance(part, Option)]
        self.arguments = [part for part in parts if isinstance(part, Argument)]
        self.flags = {flag: option for option in self.options for flag in option.flags}

    def defaults(self) -> Arguments:
        """What the arguments are where nothing is typed."""
        return {option.dest: [] if option.repeats else option.default for option in self.options}


def split_program(command: Command, typed: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Part what is ours from what belongs to the program.

    A value of an option never begins with ``-``, so the first ``-p`` or ``--`` is where the program begins; all that
    follows its name is its own, dashes and all.

    Returns:
        Our part, and the program with its arguments; None for a command that takes no program, or where none is given.
    """
    if command.takes_program:
        for i, word in enumerate(typed):
            if word in PROGRAM_MARKS:
                return list(typed[:i]), list(typed[i + 1 :])
    return list(typed), None


_JSON = Option("--json", "", "print JSON, for programs")
_LABELS = Argument(
    "PATTERN", "+", "label, or glob in which '*' crosses '/'; quote it from the shell", completes="label"
)
_FILES = Argument("PATH", "+", "job file, or directory of these: .json, .toml, .plist", completes="file")
_SOME = Argument("PATTERN", "*", "label, or glob in which '*' crosses '/'; without any, all", completes="label")


def _job_options(*, label_required: bool) -> list[Option]:
    return [
        Option("-l --label", "LABEL", "the job's name, such as group/p1", required=label_required),
        Option("--env", "NAME=VALUE", "set in the job's environment; may be repeated", assignment, repeats=True),
        Option("--cwd", "DIR", "working directory; by default the one you are in", completes="directory"),
        Option("--stdin", "FILE", "standard input; by default /dev/null", completes="file"),
        Option("--stdout", "FILE", "append standard output; by default to a file for `launch logs`", completes="file"),
        Option("--stderr", "FILE", "append standard error; by default where standard output goes", completes="file"),
        Option("--keep-alive", "", "start it again whenever it ends by itself"),
        Option("--throttle", "SECONDS", "least time from one start to the next (10)", seconds),
        Option("--stop-timeout", "SECONDS", "grace between the stop signal and KILL (20); 0 waits for ever", seconds),
        Option("--stop-signal", "SIGNAL", "first signal of a stop (TERM)", completes="signal"),
        Option("--umask", "OCTAL", "file mode creation mask", octal),
        Option("--nice", "N", "niceness, -20 to 19", whole),
        Option("--limit", "NAME=N", "resource limit, also NAME=SOFT:HARD; may be repeated", assignment, repeats=True),
        Option("--output-max", "BYTES", "bound on the output kept (16M); K, M and G are understood", size),
        Option("--ready-command", "COMMAND", "it is ready when this, run by sh again and again, exits with 0"),
        Option("--ready-port", "PORT", "it is ready when it takes connections on this TCP port of its own host", count),
        Option(
            "--ready-log", "REGEX", "it is ready when a line of its output matches, a regular expression of Python's"
        ),
        Option("--ready-notify", "", "it is ready when it says so, see sd_notify(3)"),
        Option("--ready-timeout", "SECONDS", "tell by an event when it is not ready after so long", some_seconds),
    ]


def _reaching() -> list[Option]:
    return [
        Option("--fanout", "N", "connect to so many hosts at a time (32)", some),
        Option("--timeout", "SECONDS", "how long a host may take to say what it has (30)", some_seconds),
    ]


COMMANDS = [
    Command(
        "serve",
        "start the launcher of this host",
        [
            Option("--background", "", "return once it answers; it outlives the session"),
            Option("--replace", "", "start a running launcher's program anew, as after an upgrade; jobs stay"),
            _JSON,
        ],
        description="Stays in the foreground and logs to stderr unless told otherwise. One launcher serves each user.",
        example="launch serve --background",
    ),
    Command(
        "submit",
        "start a job",
        [
            *_job_options(label_required=True),
            Option("--wait-ready", "", "answer when it is ready, or with 1 when it ends or is late"),
            _JSON,
        ],
        description=(
            "What follows the program is the program's, dashes and all. Answers when the program runs. It has to stay "
            "in the foreground: what it leaves running when it ends is stopped. Relative paths are from where you are, "
            "whatever --cwd says."
        ),
        example="launch submit -l group/p1 --env LEVEL=2 -p sleep 120",
        takes_program=True,
    ),
    Command(
        "run",
        "start a job, show its output, and exit as it does",
        _job_options(label_required=False),
        description="Signals are passed on to the job. Without a label, one is made up.",
        example="launch run -- make -j4 all",
        takes_program=True,
    ),
    Command(
        "load",
        "load the jobs of job files",
        [
            _FILES,
            Option("--replace", "", "stop jobs that are loaded with another spec, and load these in their place"),
            Option("--wait-ready", "", "answer when all are ready, or with 1 when one ends or is late"),
            Option("--ready-timeout", "SECONDS", "how long they are waited for; else as each one says", some_seconds),
            _JSON,
        ],
        description=(
            "Reads all of them first: where one is wrong, nothing is loaded. A job that is loaded as it is stays.\n"
            "docs/job-files.md tells what they hold. Jobs with Hosts are for launch apply."
        ),
        example="launch load web.toml",
    ),
    Command(
        "unload",
        "stop jobs, and forget them",
        [
            Argument("PATTERN", "+", "label, glob, or job file: a path, or *.json, *.toml, *.plist", completes="label"),
            Option("--timeout", "SECONDS", "grace before KILL instead of the job's own; 0 waits for ever", seconds),
            _JSON,
        ],
        description="With -H, labels and globs only.",
        example="launch unload web.toml",
    ),
    Command(
        "save",
        "write a job file of what submit would start, or of jobs that are loaded",
        [
            Argument("JOB", "*", "label or glob of loaded jobs, in place of a program", completes="label"),
            Option("-o --output", "FILE", "write it there and not to standard output", completes="file"),
            Option("--format", "FORMAT", "json, toml, plist or binary (as FILE is named, else json)", job_format),
            *_job_options(label_required=False),
        ],
        example="launch save -o web.toml -l web --keep-alive -p python3 -m http.server",
        takes_program="?",
    ),
    Command(
        "apply",
        "make hosts run what job files say",
        [
            _FILES,
            Option("--dry-run", "", "only show what would be done"),
            Option("--prune", "", "stop and forget jobs that were applied with the file before, and are not in it now"),
            Option("--rolling", "N", "N hosts at a time, each ready before the next; stop at a failure", some),
            Option("--wait-ready", "", "return when all jobs of the files are ready, also those that are kept"),
            Option(
                "--ready-timeout",
                "SECONDS",
                "how long jobs are waited for to be ready, where any are (60)",
                some_seconds,
            ),
            Option(
                "--settle", "SECONDS", "a job without Ready counts as ready when it has stayed up so long (2)", seconds
            ),
            *_reaching(),
            _JSON,
        ],
        description=(
            "Shows the plan for each host: start, change (stop, then start), keep, stop. Then does it, on all hosts\n"
            "at once. What is as the files say is not touched. Where a step fails, what follows on that host is not\n"
            "begun, and each step that was not done is named. A job that depends on one of other hosts is started\n"
            "when that is ready there. Jobs without Hosts are for this host.\n"
            "A roll is not begun while a host cannot be asked; -H with the other hosts leaves it out. --settle is for\n"
            "rolls, and for --wait-ready where it is given.\n"
            "With -H it is done on those hosts only, and jobs without Hosts are for these; LAUNCH_HOSTS means nothing\n"
            "here. A host that the files do not name any more is looked at with -H and --prune."
        ),
        example="launch apply --rolling 1 cluster.toml",
    ),
    Command(
        "diff",
        "show in what hosts differ from what job files say",
        [
            _FILES,
            *_reaching(),
            _JSON,
        ],
        description=(
            "The exit status is 0 where they do not differ, and 1 where they do. For -H see launch apply.\n"
            "What differs in another way on each host is named without its values; -H with one host, or --json, shows\n"
            "these."
        ),
        example="launch diff cluster.toml",
    ),
    Command("schema", "print the JSON Schema of job files", [], example="launch schema"),
    Command("list", "list jobs", [_SOME, _JSON], example="launch list 'group/*'"),
    Command(
        "status",
        "tell everything known of a job, or of the launcher",
        [Argument("LABEL", "?", "the job; without it, the launcher", completes="label"), _JSON],
        example="launch status group/p1",
    ),
    Command(
        "stop",
        "stop jobs, with everything they have started",
        [
            _LABELS,
            Option("--signal", "SIGNAL", "first signal instead of the job's own", completes="signal"),
            Option("--timeout", "SECONDS", "grace before KILL instead of the job's own; 0 waits for ever", seconds),
            _JSON,
        ],
        description="Returns when they have ended. A job that is refused or survives is named, and the status is 1.",
        example="launch stop p1 'group/*'",
    ),
    Command("restart", "stop jobs and start them again", [_LABELS, _JSON], example="launch restart group/p1"),
    Command(
        "signal",
        "send a signal to jobs",
        [Argument("SIGNAL", "", "a name such as HUP, or a number", completes="signal"), _LABELS, _JSON],
        description="To each job's own process only.",
        example="launch signal HUP group/p1",
    ),
    Command(
        "kill",
        "end jobs at once, with everything they have started",
        [_LABELS, _JSON],
        description="KILL to each job's whole tree.",
        example="launch kill group/p1",
    ),
    Command(
        "wait",
        "wait until jobs have finished, and exit as they did",
        [_LABELS, _JSON],
        description=(
            "The exit status is the job's: its code, 128 + its signal's number, 1 when it could not start, 125 when "
            "nobody knows. Of several jobs, the first that is not 0."
        ),
        example="launch wait group/p1",
    ),
    Command(
        "logs",
        "show a job's output",
        [
            Option("-f --follow", "", "go on with what comes, until the job has finished"),
            Option("-n --lines", "N", "only the last N lines", count),
            Argument("LABEL", "", "the job", completes="label"),
        ],
        example="launch logs -f -n 20 group/p1",
    ),
    Command(
        "events",
        "show what has happened to jobs",
        [
            _SOME,
            Option("-f --follow", "", "go on with what comes"),
            Option("-n --count", "N", "only the last N; with -f 10 unless --since is given", count),
            Option("--since", "WHEN", "after a sequence number, or from 10m, 2h or 1d ago, or an ISO 8601 time"),
            Option("--json", "", "one CloudEvents object on each line, for programs"),
        ],
        example="launch events -f --since 10m 'group/*'",
    ),
    Command(
        "subscribe",
        "tell of failures as they happen",
        [
            Option("-f --filter", "PATTERN", "only labels like this, a glob; may be repeated", repeats=True),
            Option("--kind", "KIND", "only these kinds of events, a glob, or all; may be repeated", repeats=True),
            Option("--since", "WHEN", "begin after a sequence number, or 10m, 2h or 1d ago, or at an ISO 8601 time"),
            Option("--name", "NAME", "a subscription that lasts: the next of that name goes on where this one ended"),
            Option(
                "-n", "COUNT|TRANSPORT", "--count, or with tcp or quic --transport", some_or_transport, repeats=True
            ),
            Option("--count", "COUNT", "end after so many events", some),
            Option("--timeout", "SECONDS", "end after so long: status 1 where fewer than COUNT came", some_seconds),
            Option("--exec", "COMMAND", "run it for each event, with the event on its stdin, until it exits with 0"),
            Option("--json", "", "one CloudEvents object on each line, for programs"),
            Option("--serve", "", "listen, and have the launcher connect out to here"),
            Option("-a --address", "ADDRESS", "where to listen: HOST:PORT, :PORT or HOST (:9000)"),
            Option("--advertise", "ADDRESS", "where launchers connect to, if not where it listens: HOST:PORT or HOST"),
            Option("--transport", "TRANSPORT", "quic, or tcp for TLS over TCP (quic)", transport),
            Option("--suspect-after", "SECONDS", "suspect a host not heard for so long, 0.2 to 3600 (3)", suspicion),
            Option("-H --hosts", "HOSTS", "of these hosts, over ssh; may be repeated", repeats=True),
            Option("--fanout", "N", "connect to so many of those at a time (32)", some),
        ],
        description=(
            "Prints one line for each event until interrupted; the launcher may die meanwhile. Without --kind: how\n"
            "jobs end, starts that fail, launchers that start or are lost, and what is believed of hosts. --address,\n"
            "--advertise, --transport and --suspect-after need --serve. A name that is known goes on where it was,\n"
            "whatever --since says.\n\n"
            "With HOSTS (or LAUNCH_HOSTS) it is told of those and not of this one, and a host that is down is tried\n"
            "until it is back. With --serve their launchers connect to the address that each sees its ssh come from,\n"
            "unless --address or --advertise names one; without, events come over ssh.\n\n"
            "COMMAND is run by sh. It has the event as JSON on its stdin, and in its environment LAUNCH_EVENT_KIND,\n"
            "_ID, _SOURCE, _HOST, _TIME, _LABEL, _REASON, _CODE, _SIGNAL, _PID, _MESSAGE and _REDELIVERED, each where\n"
            "it applies. Where it fails, it is run again for the same event after 1 second, then 2, 4 ... 60: no\n"
            "event is left out. Only what it has exited with 0 for counts as handled."
        ),
        example="launch subscribe -f 'group/*' --exec ./page",
        stray="labels are chosen with -f",
    ),
    Command(
        "subscriptions",
        "list those to whom the launcher delivers events",
        [_JSON],
        example="launch subscriptions",
    ),
    Command(
        "unsubscribe",
        "end subscriptions",
        [Argument("ID", "+", "a subscription's name, or its id or the first digits of it"), _JSON],
        description="A subscriber that goes on is told nothing more.",
        example="launch unsubscribe pager",
    ),
    Command(
        "shutdown",
        "stop every job and end the launcher",
        [Option("--leave-jobs", "", "let the jobs run, for the next launcher to adopt"), _JSON],
        example="launch shutdown",
    ),
    Command(
        "connections",
        "list the ssh connections to other hosts, which stay for ten minutes",
        [Option("--close", "", "end them"), _JSON],
        example="launch connections --close",
    ),
    Command(
        "bridge",
        "join standard input and output with the launcher's socket",
        [],
        description="What a client on another host starts over ssh. Says in one message where it is, or why it cannot.",
        example="launch bridge",
    ),
    Command(
        "doctor",
        "find out what works, here or on other hosts, and what to do about what does not",
        [
            Option("-H --hosts", "HOSTS", "look at these hosts, over ssh; may be repeated", repeats=True),
            Option("--port", "ADDRESS", "whether they can connect to HOST:PORT or :PORT here, see subscribe --serve"),
            Option("--json", "", "one object for each host, for programs"),
            Option("--answer", "", "be the far end of another host's doctor: answer lines of input with messages"),
        ],
        description=(
            "A line for each thing that was looked at: ok, warn, or FAIL with what to do. Exits with 1 where\n"
            "something fails. Without -H, LAUNCH_HOSTS says which hosts; without both it is this one."
        ),
        example="launch doctor -H node[1-64] --port :9000",
    ),
    Command(
        "completion",
        "print a completion script",
        [Argument("SHELL", "", "bash, zsh or fish", choices=("bash", "zsh", "fish"))],
        example='eval "$(launch completion bash)"',
    ),
    Command("version", "print the version", [], example="launch version"),
]
BY_NAME = {command.name: command for command in COMMANDS}
GLOBAL = Command(
    "launch",
    "what stands before the command",
    [
        Option(
            "-H --hosts",
            "HOSTS",
            "have the launchers of these hosts do it, over ssh; may be repeated",
            str,
            repeats=True,
        ),
        Option("--fanout", "N", "ask at most so many hosts at a time (32)", some),
        Option(
            "--timeout",
            "SECONDS",
            "time limit for an answer (30), or for connecting where the call itself waits",
            some_seconds,
        ),
    ],
    example="launch -H 'node[1-64]' list",
)
"""Options of every command that is for hosts."""
HOSTS_VARIABLE = "LAUNCH_HOSTS"
