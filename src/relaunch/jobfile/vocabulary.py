"""Every key that a job file may have, in one table: launchd's, with launchd's meaning, and ours.

The reader, the writer, the JSON Schema and the documentation are made from it. Knows what each key means. Refuses to
know in which format a file is written.
"""

from __future__ import annotations

from relaunch.fields import a_label, a_path
from relaunch.jobfile import values as v
from relaunch.jobfile.forms import Array, Either, Key, Named, OneOrMore, Record
from relaunch.jobfile.meaning import finish_job, finish_socket, unfinish_job
from relaunch.jobfile.rules import Apart, FirstIsLookedUp, Has, Needs, Some

_KEEP_ALIVE = Record(
    "KeepAlive",
    [
        Key("SuccessfulExit", "successful_exit", v.FLAG, "again after an exit with 0 (true) or any other end (false)"),
        Key("Crashed", "crashed", v.FLAG, "again after a signal that tells of a crash (true) or any other end (false)"),
        Key(
            "PathState",
            "paths",
            Named("dictionary of booleans", a_path, v.PATH_SHAPE, v.FLAG),
            "while a path exists (true) or does not (false)",
        ),
        Key(
            "OtherJobEnabled",
            "other_jobs",
            Named("dictionary of booleans", a_label, v.LABEL_SHAPE, v.FLAG),
            "while the job of a label is loaded and not stopped (true), or is not (false)",
        ),
    ],
    unsupported={
        "NetworkState": "launchd does nothing with it any more either",
        "AfterInitialDemand": "conditions hold from the beginning",
        "OtherJobActive": "launchd does not document it; OtherJobEnabled is known",
        "HomeRelativePathState": "PathState takes absolute paths",
    },
)

_CALENDAR = Record(
    "StartCalendarInterval",
    [
        Key("Minute", "minute", v.whole(0, 59), "0 to 59"),
        Key("Hour", "hour", v.whole(0, 23), "0 to 23"),
        Key("Day", "day", v.whole(1, 31), "of the month, 1 to 31; with Weekday, either will do"),
        Key("Weekday", "weekday", v.whole(0, 7), "0 and 7 are Sunday"),
        Key("Month", "month", v.whole(1, 12), "1 to 12"),
    ],
)

_LIMITS = Record(
    "ResourceLimits",
    [
        Key("Core", "core", v.BOUND, "bytes of a core file"),
        Key("CPU", "cpu", v.BOUND, "seconds of processor time"),
        Key("Data", "data", v.BOUND, "bytes of data"),
        Key("FileSize", "fsize", v.BOUND, "bytes of a file that it writes"),
        Key("MemoryLock", "memlock", v.BOUND, "bytes locked in memory"),
        Key("NumberOfFiles", "nofile", v.BOUND, "open files"),
        Key("NumberOfProcesses", "nproc", v.BOUND, "processes of the user"),
        Key("ResidentSetSize", "rss", v.BOUND, "bytes resident in memory; Linux does nothing with it"),
        Key("Stack", "stack", v.BOUND, "bytes of stack"),
        Key("AddressSpace", "as", v.BOUND, "bytes of address space", ours=True),
        Key("MessageQueues", "msgqueue", v.BOUND, "bytes in POSIX message queues", ours=True),
        Key("NiceCeiling", "nice", v.BOUND, "20 minus the least niceness that it may take", ours=True),
        Key("RealtimePriority", "rtprio", v.BOUND, "highest real-time priority", ours=True),
        Key("RealtimeTime", "rttime", v.BOUND, "microseconds of real-time processor time at a stretch", ours=True),
        Key("PendingSignals", "sigpending", v.BOUND, "signals that are queued", ours=True),
    ],
)

_SOCKET = Record(
    "Socket",
    [
        Key("SockType", "kind", v.choice("stream", "dgram", "seqpacket"), "its type; `stream` by default"),
        Key("SockPassive", "passive", v.PASSIVE, "that it is listened on; false is refused"),
        Key("SockNodeName", "host", v.TEXT, "address or name to bind; every address by default"),
        Key(
            "SockServiceName",
            "port",
            v.SERVICE,
            "port, or a service's name as this host knows it when the file is read",
        ),
        Key(
            "SockFamily",
            "family",
            v.choice("IPv4", "IPv6", "IPv4v6", "Unix", IPv4="ipv4", IPv6="ipv6", IPv4v6=None, Unix=None),
            "both of IPv4 and IPv6 by default",
        ),
        Key("SockProtocol", "protocol", v.choice("TCP", "UDP"), "has to fit SockType; UDP implies `dgram`"),
        Key("SockPathName", "path", v.PATH, "path of a Unix socket"),
        Key("SockPathMode", "mode", v.MASK, "permissions of SockPathName"),
    ],
    unsupported={
        "Bonjour": "nothing is announced on the network",
        "MulticastGroup": "the job may join one itself",
        "ReceivePacketInfo": "the job may ask for it itself",
        "SecureSocketWithKey": "give the path in SockPathName",
        "SockPathOwner": "a Unix socket belongs to the launcher's user",
        "SockPathGroup": "a Unix socket belongs to the launcher's group",
    },
    rules=[
        Some(["SockServiceName", "SockPathName"]),
        Apart(Has("SockPathName"), Has("SockServiceName")),
        Apart(Has("SockPathName"), Has("SockNodeName")),
        Apart(Has("SockPathName"), Has("SockProtocol")),
        Apart(Has("SockPathName"), Has("SockFamily", ("IPv4", "IPv6", "IPv4v6"))),
        Apart(Has("SockServiceName"), Has("SockFamily", ("Unix",))),
        Apart(Has("SockServiceName"), Has("SockType", ("seqpacket",))),
        Apart(Has("SockProtocol", ("TCP",)), Has("SockType", ("dgram",))),
        Apart(Has("SockProtocol", ("UDP",)), Has("SockType", ("stream",))),
        Needs(Has("SockPathMode"), Has("SockPathName")),
    ],
    finish=finish_socket,
)

_READY = Record(
    "Ready",
    [
        Key("Command", "command", v.COMMAND, "run again and again until it exits with 0", ours=True),
        Key("Port", "port", v.PORT, "TCP port on which it takes connections", ours=True),
        Key("Host", "host", v.TEXT, "where Port is; the loopback address by default", ours=True),
        Key("LogLine", "log_line", v.TEXT, "regular expression to be found in a line of its output", ours=True),
        Key("Notify", "notify", v.TRUE, "it says so itself, READY=1 as in sd_notify(3)", ours=True),
        Key("Timeout", "timeout_s", v.SOME_SECONDS, "an event says so if it is not ready by then", ours=True),
        Key("Interval", "interval_s", v.SOME_SECONDS, "from one try to the next (1)", ours=True),
    ],
    rules=[
        Some(["Command", "Port", "LogLine", "Notify"]),
        Apart(Has("Command"), Has("Port")),
        Apart(Has("Command"), Has("LogLine")),
        Apart(Has("Command"), Has("Notify")),
        Apart(Has("Port"), Has("LogLine")),
        Apart(Has("Port"), Has("Notify")),
        Apart(Has("LogLine"), Has("Notify")),
        Needs(Has("Host"), Has("Port")),
    ],
)

_RESTART_LIMIT = Record(
    "RestartLimit",
    [
        Key("Count", "count", v.whole(0, 1000), "how many times it is started again", ours=True),
        Key("Within", "within_s", v.SOME_SECONDS, "in so long", ours=True),
    ],
    rules=[Some(["Count"]), Some(["Within"])],
)

_BACKOFF = Record(
    "Backoff",
    [
        Key("Initial", "initial_s", v.SOME_SECONDS, "the first delay (1)", ours=True),
        Key("Max", "max_s", v.SOME_SECONDS, "the longest (300)", ours=True),
        Key("Factor", "factor", v.between(1, 100), "by which each is longer than the one before (2)", ours=True),
        Key("Jitter", "jitter", v.between(0, 1), "share of itself by which it is spread (0.1)", ours=True),
    ],
)

HOSTS = OneOrMore(v.TEXT, 1)
_HOSTS_MEANING = "node sets on which the job runs, see `launch apply`; here where there are none"
_CLUSTER_MEANING = "name of the cluster that the job belongs to"

JOB = Record(
    "Job",
    [
        Key("Label", "label", v.LABEL, "its name, which no other job has"),
        Key("Program", "program", v.PROGRAM, "what is executed; by default the first of ProgramArguments"),
        Key("ProgramArguments", "argv", v.COMMAND, "the argument vector, argv[0] first; by default Program alone"),
        Key("ProgramArgs", "rest", v.ARGUMENTS, "with Program: arguments without its own name", ours=True),
        Key("Disabled", "disabled", v.FLAG, "leave it out when the file is loaded"),
        Key("RunAtLoad", "run_at_load", v.FLAG, "start it at once; so is what nothing else would ever start"),
        Key(
            "KeepAlive",
            "keep",
            Either(_KEEP_ALIVE, v.FLAG),
            "start it again when it ends: always, or if one of these holds",
        ),
        Key("LaunchOnlyOnce", "launch_only_once", v.FLAG, "never start it again by itself"),
        Key("StartInterval", "start_interval_s", v.SOME_SECONDS, "start it every so often"),
        Key(
            "StartCalendarInterval",
            "start_calendar",
            OneOrMore(_CALENDAR),
            "start it at these times; what is left out is any",
        ),
        Key("WatchPaths", "watch_paths", Array(v.PATH), "start it when one of these is changed, made or removed"),
        Key("QueueDirectories", "queue_directories", Array(v.PATH), "start it while one of these holds anything"),
        Key(
            "Sockets",
            "sockets",
            Named("dictionary of sockets by name", v.socket_name, v.SOCKET_NAME_SHAPE, OneOrMore(_SOCKET, 1)),
            "start it when one is connected to; passed on as in sd_listen_fds(3)",
        ),
        Key("DependsOn", "depends_on", Array(v.LABEL), "labels of jobs that have to be ready before", ours=True),
        Key("Ready", "ready", _READY, "how it shows that it is ready; when it is up by default", ours=True),
        Key("ThrottleInterval", "throttle_s", v.SECONDS, "least time from one start to the next (10)"),
        Key("Backoff", "backoff", _BACKOFF, "wait longer and longer before it is started again", ours=True),
        Key("RestartLimit", "restart_limit", _RESTART_LIMIT, "when to give up starting it again", ours=True),
        Key(
            "ExitTimeOut", "stop_timeout_s", v.SECONDS, "grace between the stop signal and KILL (20); 0 waits for ever"
        ),
        Key("StopSignal", "stop_signal", v.SIGNAL, "the stop signal (TERM)", ours=True),
        Key("AbandonProcessGroup", "abandon_process_group", v.FLAG, "leave alone what it leaves behind"),
        Key(
            "EnvironmentVariables",
            "env",
            Named("dictionary of strings", v.env_name, v.ENV_NAME_SHAPE, v.ANY_TEXT),
            "set on top of the launcher's own",
        ),
        Key("WorkingDirectory", "cwd", v.PATH, "where it starts (/)"),
        Key("StandardInPath", "stdin", v.PATH, "its standard input (/dev/null)"),
        Key("StandardOutPath", "stdout", v.PATH, "appended to; by default a bounded file, see `launch logs`"),
        Key("StandardErrorPath", "stderr", v.PATH, "appended to; by default where standard output goes"),
        Key(
            "OutputLimit",
            "output_bytes_max",
            v.whole(4096, 2**50),
            "bytes that are kept of the bounded file (16 MiB)",
            ours=True,
        ),
        Key("UserName", "user", v.TEXT, "whom it runs as; root's launcher only"),
        Key("GroupName", "group", v.TEXT, "its group; that of UserName by default"),
        Key("Umask", "umask", v.MASK, 'file mode creation mask; a string may be octal: "022"'),
        Key("Nice", "nice", v.NICE, "niceness, -20 to 20; Linux ends at 19"),
        Key(
            "ProcessType",
            "process_type",
            v.choice("Background", "Standard", "Adaptive", "Interactive"),
            "Background: Nice 10 and LowPriorityIO, unless they are given; else nothing",
        ),
        Key("LowPriorityIO", "low_priority_io", v.FLAG, "let others read and write first"),
        Key("SoftResourceLimits", "soft", _LIMITS, "soft limits; the launcher's where one is left out"),
        Key("HardResourceLimits", "hard", _LIMITS, "hard limits; the launcher's where one is left out"),
        Key("EnableGlobbing", "globbing", v.FLAG, "expand patterns of file names in ProgramArguments"),
        Key("Hosts", "hosts", HOSTS, _HOSTS_MEANING, ours=True),
        Key("Cluster", "cluster", v.TEXT, _CLUSTER_MEANING, ours=True),
    ],
    unsupported={
        "AssociatedBundleIdentifiers": "there are no bundles",
        "BundleProgram": "there are no bundles; give Program",
        "Debug": "the launcher logs all it does in its journal, see `launch events`",
        "EnablePressuredExit": "it is about memory pressure on macOS",
        "EnableTransactions": "a job is sent TERM and given its ExitTimeOut",
        "HopefullyExitsFirst": "launchd does not document it",
        "HopefullyExitsLast": "launchd does not document it",
        "inetdCompatibility": "write Sockets, and take them as in sd_listen_fds(3)",
        "InitGroups": "with UserName, groups are always those of the user",
        "LaunchEvents": "these events are of macOS",
        "LegacyTimers": "timers are not coalesced",
        "LimitLoadFromHardware": "hardware is not looked at",
        "LimitLoadFromHosts": "write Hosts, and use `launch apply`",
        "LimitLoadToHardware": "hardware is not looked at",
        "LimitLoadToHosts": "write Hosts, and use `launch apply`",
        "LimitLoadToSessionType": "there is one kind of session",
        "LowPriorityBackgroundIO": "LowPriorityIO is known",
        "MachServices": "Mach ports are of macOS; Sockets are known",
        "MaterializeDatalessFiles": "it is about file systems of macOS",
        "OnDemand": "KeepAlive has taken its place",
        "POSIXSpawnType": "ProcessType is known",
        "RootDirectory": "nothing is run in another root",
        "ServiceIPC": "Sockets are passed on without it",
        "SessionCreate": "each job has a session of its own",
        "StartOnMount": "mounts are not watched; WatchPaths is known",
        "TimeOut": "a job decides by itself when it has been idle",
        "WaitForDebugger": "a debugger may be named in Program",
    },
    rules=[
        Some(["Label"]),
        Some(["Program", "ProgramArguments"]),
        Needs(Has("ProgramArgs"), Has("Program")),
        Apart(Has("ProgramArguments"), Has("ProgramArgs")),
        FirstIsLookedUp("Program", "ProgramArguments"),
    ],
    finish=finish_job,
    unfinish=unfinish_job,
)

CLUSTER = Record(
    "Cluster",
    [
        Key("Jobs", "jobs", Array(JOB, 1), "the jobs of the file", ours=True),
        Key("Hosts", "hosts", HOSTS, "for each job that has none of its own", ours=True),
        Key("Cluster", "cluster", v.TEXT, "for each job that has none of its own", ours=True),
    ],
)
KEY_OF_FIELD = {key.field: key.name for key in JOB.keys} | {
    "keep_alive": "KeepAlive",
    "keep_alive_when": "KeepAlive",
    "limits": "SoftResourceLimits",
    "origin": "Cluster",
}
"""Which key a field of a spec is written under."""
KEY_OF_READY = {key.field: key.name for key in _READY.keys}
"""The same of what is within ``ready``."""
