"""relaunch: processes kept on many hosts, and every failure told.

    async with relaunch.connect() as launcher:
        await launcher.submit("p1", ["sleep", "120"])
        async for event in launcher.events(follow=True):
            print(event.kind, event.label)

Each name is loaded when it is first asked for: importing the package costs next to nothing, and so the ``launch``
command can afford it.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from relaunch.client.answers import Description as Description
    from relaunch.client.answers import LauncherStatus as LauncherStatus
    from relaunch.client.answers import Process as Process
    from relaunch.client.cluster import Cluster as Cluster
    from relaunch.client.connection import Connection as Connection
    from relaunch.client.connection import connect as connect
    from relaunch.client.ssh import HostConnection as HostConnection
    from relaunch.client.ssh import connect_host as connect_host
    from relaunch.errors import RelaunchError as RelaunchError
    from relaunch.event import Event as Event
    from relaunch.model import Exit as Exit
    from relaunch.model import JobSpec as JobSpec
    from relaunch.model import JobStatus as JobStatus
    from relaunch.model import Outcome as Outcome
    from relaunch.subscribing import Subscriber as Subscriber
    from relaunch.subscribing import subscribe as subscribe

__version__ = "0.1.0"

_HOMES = {
    "Cluster": "relaunch.client.cluster",
    "Connection": "relaunch.client.connection",
    "Description": "relaunch.client.answers",
    "Event": "relaunch.event",
    "Exit": "relaunch.model",
    "HostConnection": "relaunch.client.ssh",
    "JobSpec": "relaunch.model",
    "JobStatus": "relaunch.model",
    "LauncherStatus": "relaunch.client.answers",
    "Outcome": "relaunch.model",
    "Process": "relaunch.client.answers",
    "RelaunchError": "relaunch.errors",
    "Subscriber": "relaunch.subscribing",
    "connect": "relaunch.client.connection",
    "connect_host": "relaunch.client.ssh",
    "subscribe": "relaunch.subscribing",
}

__all__ = [  # noqa: PLE0604 - the names are texts, in one table with their homes
    *sorted(_HOMES),
    "__version__",
]


if not TYPE_CHECKING:  # a type checker knows the names from above, and is to refuse all others

    def __getattr__(name: str) -> object:
        """A public name, loaded on first use."""
        if name not in _HOMES:
            raise AttributeError(f"module 'relaunch' has no attribute {name!r}")
        from importlib import import_module

        found: object = getattr(import_module(_HOMES[name]), name)
        globals()[name] = found
        return found
