"""The launcher's process: puts the parts together, brings them up in order, takes them down in order.

Up: the kernel's tie to the keeper, the keeper's hello, the journal, recovery, the socket. Down: new calls, the jobs,
the journal, the answers, the keeper. Refuses to know what any part does inside.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Sequence
from typing import Any

from relaunch import __version__
from relaunch.core.document import to_document
from relaunch.core.job import Job
from relaunch.errors import RelaunchError
from relaunch.keeper.wire import Message
from relaunch.launcher.alarm import boottime
from relaunch.launcher.documents import of_jobs
from relaunch.launcher.feed import Feed
from relaunch.launcher.handlers import Handlers, Identity
from relaunch.launcher.journal import Journal, NewEvent, StoredEvent, Write
from relaunch.launcher.keeper_link import KeeperLink
from relaunch.launcher.kernel import die_with_peer
from relaunch.launcher.log import Log
from relaunch.launcher.outgoing import Speaker
from relaunch.launcher.output import Outputs
from relaunch.launcher.recovery import from_before_boot, recover
from relaunch.launcher.requests import Requests
from relaunch.launcher.server import CONNECTIONS_MAX, Server
from relaunch.launcher.snapshot import Snapshots
from relaunch.launcher.subscribing import Subscribing
from relaunch.launcher.subscriptions import Subscriptions
from relaunch.launcher.supervisor import Supervisor
from relaunch.places import make_private

# EX_TEMPFAIL of sysexits.h: the keeper starts the launcher again after any end but an ordered one.
REPLACED_STATUS = 75
# Little that is made here refers to itself; the default of 700 has the collector take a tenth of the time.
GC_ALLOCATIONS = 20_000
# The document that holds the number of this run.
RUN = "launcher:run"
log = logging.getLogger("relaunch")


class Launcher:
    """One launcher, from its start to its end. Made on the loop it runs on.

    Args:
        options: As ``parse`` gives them.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        loop = asyncio.get_running_loop()
        self._options = options
        self._started_at = boottime()
        self._hello: asyncio.Future[Message] = loop.create_future()
        self._over: asyncio.Future[int] = loop.create_future()
        self._early: list[Message] = []
        self._link = KeeperLink(self._reported, self._keeper_lost)
        self._source = f"//{os.uname().nodename}/relaunch/{os.getuid()}"
        self._feed = Feed(self._source)
        self._subscriptions: Subscriptions | None = None
        self._supervisor: Supervisor | None = None
        self._ending: asyncio.Task[list[Job]] | None = None
        self._up: asyncio.Future[Requests] = loop.create_future()

    async def run(self) -> int:
        """Serve until shutdown.

        Returns:
            The exit status.

        Raises:
            RelaunchError: It cannot be brought up.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._asked, number)
        await self._link.open(self._options.keeper_fd)
        hello = await self._hello
        path = os.path.join(self._options.state, "journal.db")
        journal = self._journal = Journal(path, hello["boot_id"], self._committed, self._link.flush)
        outputs = Outputs(make_private(os.path.join(self._options.state, "output")))
        speaker = Speaker(source=self._source, boot_id=hello["boot_id"], run=_next_run(journal))
        subscriptions = self._subscriptions = Subscriptions(journal, speaker, Snapshots(journal, outputs.path_of))
        supervisor = self._recover(hello, journal, outputs, subscriptions)
        # Before the keeper is told ``up``: a launcher that follows this one relies on what recovery has found.
        await journal.settle()
        server = self._serve(hello, journal, outputs, supervisor, subscriptions)
        status = await self._over
        server.stop_accepting()
        supervisor.readiness.close(finally_=status == 0)
        self._feed.close()
        if status == 0:
            await subscriptions.finish()
        else:
            subscriptions.close()
        await server.close()
        await journal.close()
        outputs.close()
        if status != REPLACED_STATUS:
            if self._options.started_by == "serve":
                with contextlib.suppress(OSError):
                    os.unlink(self._options.socket)
            self._link.order("quit", status=status)
        self._link.close()
        return status

    def _committed(self, events: list[StoredEvent]) -> None:
        self._feed.committed(events)
        if self._subscriptions is not None:
            self._subscriptions.committed(events)

    def _recover(self, hello: Message, journal: Journal, outputs: Outputs, subscriptions: Subscriptions) -> Supervisor:
        options = self._options
        supervisor = Supervisor(
            journal,
            self._link,
            hello["keeper_pid"],
            outputs,
            options.socket,
            options.notify_fd,
            hello.get("listening", ()),
        )
        started = {
            "pid": os.getpid(),
            "version": __version__,
            "starts": hello["launcher_starts"],
            "died": hello["launcher_died"],
        }
        kind = "launcher.started" if hello["launcher_starts"] == 1 else "launcher.restarted"
        same_boot = journal.previous_boot_id in (None, hello["boot_id"])
        jobs = of_jobs(journal.documents, lambda job: job)
        # The run in one commit with its first event, and before anybody is told of it.
        documents: dict[str, str | None] = {RUN: json.dumps({"run": subscriptions.speaker.run})}
        if not same_boot:
            jobs = [from_before_boot(job, boottime()) for job in jobs]
            # Likewise: who reads that event takes these for jobs of this boot.
            documents |= {job.id: json.dumps(to_document(job)) for job in jobs}
        journal.write(Write([_event(kind, started)], documents, lambda _: subscriptions.begin()))
        if journal.set_aside:
            log.warning("the journal could not be used and was set aside as %s", journal.set_aside)
            journal.write(Write([_event("journal.reset", {"set_aside": journal.set_aside})], {}, lambda _: None))
        recover(
            supervisor,
            self._link,
            jobs,
            hello,
            same_boot=same_boot,
            socket_path=self._options.socket,
        )
        supervisor.readiness.sweep()
        self._supervisor = supervisor
        self._reported(self._early)
        return supervisor

    def _serve(
        self,
        hello: Message,
        journal: Journal,
        outputs: Outputs,
        supervisor: Supervisor,
        subscriptions: Subscriptions,
    ) -> Server:
        identity = Identity(
            host=os.uname().nodename,
            boot_id=hello["boot_id"],
            keeper_pid=hello["keeper_pid"],
            launcher_starts=hello["launcher_starts"],
            socket_path=self._options.socket,
            started_at=self._started_at,
            subscribers=subscriptions.to_wire,
        )
        requests = Requests(supervisor, journal)
        handlers = Handlers(supervisor, requests, journal, outputs, self._feed, identity, self._shutdown, self._replace)
        server = Server(handlers.unary | Subscribing(subscriptions).unary, handlers.streaming, __version__, places())
        server.start(socket.socket(fileno=self._options.listen_fd))
        self._server = server
        self._up.set_result(requests)
        self._link.order("up")
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_ALLOCATIONS)
        log.info("launcher %d of keeper %d serves at %s", os.getpid(), hello["keeper_pid"], self._options.socket)
        if hello["launcher_starts"] == 1:
            tell_starter(self._options.ready_fd, "ready")
            notify_systemd("READY=1")
        return server

    def _reported(self, reports: list[Message]) -> None:
        if not self._hello.done() and reports:
            self._hello.set_result(reports[0])
            reports = reports[1:]
        if self._supervisor is None:
            self._early += reports
            return
        for report in reports:
            if report["event"] == "asked":
                self._asked(report["signal"])
        self._supervisor.reported([report for report in reports if report["event"] != "asked"])
        if self._up.done():
            self._journal.commit()

    def _keeper_lost(self) -> None:
        """The kernel kills this process at the same moment, see ``die_with_peer``; this only stops new work."""
        log.error("the keeper has ended; the next 'launch serve' adopts its jobs")
        if not self._over.done():
            self._over.set_result(1)

    def _asked(self, number: int) -> None:
        """SIGTERM and its like end everything in order; asked again, in haste."""
        if self._ending is None:
            log.info("%s: shutting down", signal.Signals(number).name)
            self._begin_shutdown(leave_jobs=False)
        elif self._up.done():
            log.info("%s again: killing what is left", signal.Signals(number).name)
            self._up.result().hasten()

    async def _shutdown(self, *, leave_jobs: bool) -> list[Job]:
        return await asyncio.shield(self._ending or self._begin_shutdown(leave_jobs=leave_jobs))

    def _begin_shutdown(self, *, leave_jobs: bool) -> asyncio.Task[list[Job]]:
        self._ending = asyncio.get_running_loop().create_task(self._end(leave_jobs=leave_jobs))
        return self._ending

    async def _end(self, *, leave_jobs: bool) -> list[Job]:
        requests = await self._up
        notify_systemd("STOPPING=1")
        self._server.stop_accepting()
        try:
            survivors = await requests.end(leave_jobs=leave_jobs)
        finally:
            if not self._over.done():
                self._over.set_result(0)
        return survivors

    def _replace(self) -> None:
        log.info("the launcher is replaced; its keeper starts the next one")
        if not self._over.done():
            self._over.set_result(REPLACED_STATUS)


def places() -> int:
    """How many clients there is room for: they get a third of the descriptors, for each may need another one."""
    return max(1, min(CONNECTIONS_MAX, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 3))


def _event(kind: str, data: dict[str, Any]) -> NewEvent:
    return NewEvent(kind, None, data, time.time())


def _next_run(journal: Journal) -> int:
    """A number that no earlier launcher of this journal had, nor, by the clock, one of a journal that was lost."""
    try:
        last = int(json.loads(journal.documents.get(RUN, "{}")).get("run", 0))
    except (AttributeError, TypeError, ValueError):
        last = 0
    return max(last + 1, int(time.time()))


def tell_starter(fd: int | None, line: str) -> None:
    """Tell ``launch serve --background``, which waits at the other end, how the start went."""
    if fd is None:
        return
    with contextlib.suppress(OSError):
        os.write(fd, f"{line}\n".encode())
        os.close(fd)


def notify_systemd(state: str) -> None:
    """Tell the service manager, where there is one; the protocol of sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The launcher's own command line, as ``launch serve`` and the keeper write it; nobody types it."""
    parser = argparse.ArgumentParser("relaunch.launcher", allow_abbrev=False)
    for name in ("--keeper-fd", "--listen-fd", "--lock-fd"):
        parser.add_argument(name, type=int, required=True)
    for name in ("--ready-fd", "--notify-fd"):
        parser.add_argument(name, type=int)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--state", required=True)
    parser.add_argument("--started-by", choices=("serve", "systemd"), default="serve")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Run a launcher to its end; gives the exit status."""
    options = parse(argv)
    logging.basicConfig(handlers=[Log()], format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    for fd in (options.keeper_fd, options.listen_fd, options.lock_fd, options.notify_fd):
        if fd is not None:
            os.set_inheritable(fd, False)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        die_with_peer(options.keeper_fd)
        return asyncio.run(_run(options))
    except (RelaunchError, OSError) as error:
        line = str(error) if isinstance(error, RelaunchError) else f"the launcher could not start: {error}"
        log.error("%s", line)
        tell_starter(options.ready_fd, f"error: {line}")
        return 1


async def _run(options: argparse.Namespace) -> int:
    return await Launcher(options).run()
