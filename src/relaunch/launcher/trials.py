"""Commands that are tried until one exits with 0: whether a job is ready.

The keeper starts them, as it starts jobs: as the job's user, in its directory and environment, in a session of their
own. They carry LAUNCH_READY_OF, by which whatever is left of one is found and killed: when it has ended, when it takes
too long, when the job has ended, and by the next launcher. Refuses to know when one is tried again.
"""

import asyncio
import os
from signal import SIGKILL

from relaunch.core.job import Job
from relaunch.errors import BadSpec
from relaunch.keeper.wire import Message
from relaunch.launcher.accounts import account_of
from relaunch.launcher.jobs import key_of
from relaunch.launcher.keeper_link import KeeperLink
from relaunch.launcher.trees import Process, Root, Trees, carriers, send_signal

VARIABLE = b"LAUNCH_READY_OF="
LIMIT_S = 10.0
"""How long a command may take, unless the time from one to the next is longer."""
_SUFFIX = ":ready"
_SWEEPS_MAX = 5


class NotTried(Exception):
    """A command could not be executed; the text says why."""


class Trials:
    """The commands under way, one for a run at most. Lives on one event loop.

    Args:
        link: The keeper.
        trees: Finds what a command has started.
        socket_path: Tells this launcher's commands from those of others.
    """

    def __init__(self, link: KeeperLink, trees: Trees, socket_path: str) -> None:
        self._link = link
        self._trees = trees
        self._place = f"@{socket_path}"
        self._waiting: dict[str, asyncio.Future[Message]] = {}
        self._first: dict[str, Process] = {}
        self._clearing: set[asyncio.Task[None]] = set()

    def reported(self, report: Message) -> bool:
        """Take a report of the keeper's; gives whether it was about a command."""
        key = str(report.get("key", ""))
        if not key.endswith(_SUFFIX):
            return False
        waiting = self._waiting.get(key)
        if report["event"] == "spawned":
            self._first[key] = Process(report["pid"], report["ticks"])
            if waiting is None:  # it was given up before it had begun
                self._clear(key)
            return True
        self._first.pop(key, None)
        if report["event"] == "exited":
            self._link.order("forget", keys=[key])
        if waiting is not None and not waiting.done():
            waiting.set_result(report)
        return True

    async def try_once(self, job: Job, argv: tuple[str, ...], limit_s: float) -> bool:
        """Run a command to its end, and everything that it has started.

        Returns:
            Whether it exited with 0 in time.

        Raises:
            NotTried: It could not be executed.
        """
        key = key_of(job) + _SUFFIX
        self._order(key, job, argv)
        waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
        try:
            in_time, _ = await asyncio.wait([waiting], timeout=limit_s)
            cleared = self._clear(key)
            report = await waiting
            await asyncio.shield(cleared)
        except asyncio.CancelledError:
            self._clear(key)
            raise
        finally:
            del self._waiting[key]
        if report["event"] == "failed":
            raise NotTried(f"{report['subject']}: {os.strerror(report['errno'])}")
        return bool(in_time) and report["status"] == 0

    def sweep(self) -> None:
        """Kill what a launcher before this one has left of its commands."""
        for _ in range(_SWEEPS_MAX):
            found = carriers(VARIABLE, os.fsencode(self._place))
            if not found:
                return
            for process in found:
                send_signal(process, SIGKILL)

    def _order(self, key: str, job: Job, argv: tuple[str, ...]) -> None:
        spec = job.spec
        try:
            account = account_of(spec)
        except BadSpec as error:
            raise NotTried(str(error)) from None
        own = {
            "LAUNCH_JOB_LABEL": spec.label,
            "LAUNCH_READY_OF": self._name(key),
            "LAUNCH_JOB_ID": None,
            "LAUNCH_JOB_RUN": None,
            "LAUNCH_JOB_SOCKET": None,
        }
        env = {**account.env, **spec.env, **own}
        user = account.user
        self._link.order(
            "spawn", key=key, argv=argv, program=argv[0], env=env, cwd=spec.cwd or "/", umask=spec.umask, user=user
        )

    def _name(self, key: str) -> str:
        return key.removesuffix(_SUFFIX) + self._place

    def _clear(self, key: str) -> asyncio.Task[None]:
        """Kill what is left of a command until nothing is, beginning at once."""
        root = Root(self._name(key), self._first.get(key), False, VARIABLE)
        self._kill(root)
        task = asyncio.get_running_loop().create_task(self._until_gone(root))
        self._clearing.add(task)
        task.add_done_callback(self._clearing.discard)
        return task

    async def _until_gone(self, root: Root) -> None:
        while members := self._kill(root):
            ended = asyncio.Event()
            self._trees.watch(root.job_id, members, ended.set)
            await ended.wait()
        self._trees.unwatch(root.job_id)

    def _kill(self, root: Root) -> list[Process]:
        members = self._trees.members(root)
        for process in members:
            send_signal(process, SIGKILL)
        return members
