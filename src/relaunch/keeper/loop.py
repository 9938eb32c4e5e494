"""The keeper's loop: carries orders out, passes reports on, and keeps a launcher running.

One thread, one epoll set, no periodic timer: it wakes up for a descriptor, or for a deadline that was set. Refuses
to know labels, restart policy, and the names of users and hosts. Nothing that a launcher does or leaves undone stops
the reaping.
"""

import errno
import os
import select
import signal
import time
from collections import deque

from relaunch.keeper.children import Children, failed
from relaunch.keeper.link import Garbage, Link
from relaunch.keeper.sockets import Sockets
from relaunch.keeper.wire import VERSION, Message, encode

ASKS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# A launcher that lives for less is started again with growing delay.
STEADY_S = 10.0
DELAY_FIRST_S = 0.1
DELAY_MAX_S = 5.0
# How long a launcher may go on after it has closed its end of the socket.
CLOSED_GRACE_S = 2.0
# Orders carried out before the loop looks at everything else again.
_BATCH = 8


class Keeper:
    """A keeper that owns this process: its signals, its children and its descriptors, given or inherited."""

    def __init__(self, argv: list[str], passed: list[int], ready: int | None, devnull: int) -> None:
        """Prepare the process; nothing is started.

        Args:
            argv: The launcher's program and arguments.
            passed: Descriptors for each launcher.
            ready: A descriptor for the launcher until the first `up`; then its number is a descriptor of /dev/null,
                so that a later launcher with the same arguments speaks to nobody, and not into some other file.
            devnull: A descriptor of /dev/null.
        """
        self._argv, self._ready, self._devnull = argv, ready, devnull
        self._passed = passed if ready is None else [*passed, ready]
        self._boot_id = _boot_id()
        self._started_at = time.time()
        self._epoll = select.epoll()
        self._sockets = Sockets(self._epoll)
        self._children = Children(self._epoll, self._boot_id, devnull, self._sockets.of)
        self._orders: deque[Message] = deque()
        self._link: Link | None = None
        self._watched = 0
        self._starts = 0
        self._died: int | None = None
        self._quick_deaths = 0
        self._due: float | None = time.monotonic()
        self._up = False
        self._quit: int | None = None
        self._status: int | None = None
        self._signals: list[int] = []
        self._asked: list[int] = []
        _keep_descriptors()
        self._wakeup = self._catch_signals()

    def run(self) -> int:
        """Keep until the launcher has gone after `quit`, or has died before its first `up`; children stay.

        Returns:
            The exit status for this process.
        """
        self._tend(time.monotonic())
        while self._status is None:
            woken = False
            for fd, events in self._epoll.poll(self._timeout()):
                if fd == self._wakeup:
                    woken = True
                elif self._link is not None and fd == self._link.fd:
                    if events != select.EPOLLOUT:
                        self._listen(self._link)
                elif (called := self._sockets.called(fd)) is not None:
                    self._report(called)
                else:
                    self._children.ended(fd)
            if woken:  # last, as it may close descriptors that the list of events still names
                self._woken()
            for _ in range(min(_BATCH, len(self._orders))):
                self._carry_out(self._orders.popleft())
            now = time.monotonic()
            for report in self._children.settle(now):
                self._report(report)
            self._tend(now)
        return self._status

    def _catch_signals(self) -> int:
        """Take signals over, and give the rest the dispositions that children are to start with."""
        for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:  # Popen resets these two
            if signal.getsignal(number) == signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        wakeup, written = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)
        self._epoll.register(wakeup, select.EPOLLIN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in ASKS:
            signal.signal(number, lambda number, _: self._signals.append(number))
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        return wakeup

    def _timeout(self) -> float | None:
        if self._orders:
            return 0.0
        deadlines = [at for at in (self._due, self._children.retry_at) if at is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _report(self, report: bytes) -> None:
        """Tell the launcher; what happens while there is none, the next one's `hello` says."""
        if self._link is not None:
            self._link.report(report)

    def _woken(self) -> None:
        os.read(self._wakeup, 4096)
        while self._signals:
            number = self._signals.pop(0)
            if self._link is not None and not (number in self._asked and self._link.congested):
                self._report(encode({"event": "asked", "signal": number}))
            if number not in self._asked:
                self._asked.append(number)
        for pid, status, report in self._children.reap(None if self._link is None else self._link.pid):
            if report is not None:
                self._report(report)
            if self._link is not None and pid == self._link.pid:
                self._launcher_died(self._link, status)

    def _listen(self, link: Link) -> None:
        if self._orders:
            return
        try:
            self._orders.extend(link.receive())
        except Garbage as error:
            log(f"launcher {link.pid} sent garbage ({error}); killing it")
            link.kill()
        if link.ended:
            self._epoll.unregister(link.fd)
            self._watched = 0
            if self._quit is None:
                self._due = time.monotonic() + CLOSED_GRACE_S

    def _carry_out(self, order: Message) -> None:
        """One order. Whatever is wrong with it is its sender's trouble, not the other children's."""
        try:
            match order.get("op"):
                case "spawn":
                    self._report(self._children.spawn(order))
                case "adopt":
                    self._report(self._children.adopt(order))
                case "forget":
                    self._children.forget(order["keys"])
                case "listen" | "watch" | "close":
                    for report in self._sockets.carry_out(order):
                        self._report(report)
                case "up":
                    self._up = True
                    if self._ready is not None:
                        os.dup2(self._devnull, self._ready, inheritable=False)
                case "quit":
                    self._quit = int(order["status"]) & 0xFF
                case unknown:
                    log(f"unknown order {unknown!r:.40} ignored")
        except Exception as error:  # noqa: BLE001 - no order may end the parent of the other jobs
            log(f"order {order.get('op')} failed: {error!r:.200}")
            if isinstance(order.get("key"), str):
                number = getattr(error, "errno", None) or errno.EINVAL
                self._report(failed(order["key"], "fork", number, str(error)[:200]))

    def _tend(self, now: float) -> None:
        """Start the launcher or kill it where that is due, send what it has not got, and watch its socket."""
        if self._due is not None and now >= self._due:
            self._due = None
            if self._link is None:
                self._start_launcher()
            else:
                log(f"launcher {self._link.pid} closed its socket and did not end; killing it")
                self._link.kill()
        if self._link is None or self._link.ended:
            return
        self._link.flush()
        wanted = self._link.wants()
        if wanted != self._watched:
            (self._epoll.modify if self._watched else self._epoll.register)(self._link.fd, wanted)
            self._watched = wanted

    def _start_launcher(self) -> None:
        try:
            link = Link(self._argv, self._passed)
        except OSError as error:
            self._plan(f"launcher did not start ({error})", 0.0, 127 if error.errno == errno.ENOENT else 126)
            return
        self._starts += 1
        hello = encode(
            {
                "event": "hello",
                "version": VERSION,
                "keeper_pid": os.getpid(),
                "boot_id": self._boot_id,
                "started_at": self._started_at,
                "launcher_starts": self._starts,
                "launcher_died": self._died,
                "listening": self._sockets.keys(),
                "children": [],
            }
        )
        # The reports are on the wire's form already: put between the brackets, they need no second encoding.
        link.report(hello[:-3] + b",".join(report[:-1] for report in self._children.reports()) + hello[-3:])
        for number in self._asked:
            link.report(encode({"event": "asked", "signal": number}))
        self._link = link

    def _launcher_died(self, link: Link, status: int) -> None:
        """Carry out what the launcher had still sent, then decide what comes next."""
        if self._watched:
            self._epoll.unregister(link.fd)
        self._link, self._watched, self._due, self._died = None, 0, None, status
        self._orders.extend(link.rest())
        link.close()
        while self._orders:
            self._carry_out(self._orders.popleft())
        code = os.waitstatus_to_exitcode(status)
        how = f"exited with status {code}" if code >= 0 else f"was killed by signal {-code} ({signal.strsignal(-code)})"
        lived = time.monotonic() - link.started_at
        self._plan(f"launcher {link.pid} {how}", lived, code if code >= 0 else 128 - code)

    def _plan(self, what: str, lived: float, status: int) -> None:
        """There is no launcher, and `what` says why: end with it, or start the next one."""
        if self._quit is not None:
            self._status = self._quit
            return
        if not self._up:
            log(f"{what} before it was up; the keeper ends")
            self._status = status
            return
        self._quick_deaths = 0 if lived >= STEADY_S else self._quick_deaths + 1
        delay = 0.0
        if self._quick_deaths > 1:
            delay = min(DELAY_MAX_S, DELAY_FIRST_S * 2 ** min(self._quick_deaths - 2, 16))
        self._due = time.monotonic() + delay
        log(f"{what}; starting it again {f'in {delay:.1f} s' if delay else 'at once'}")


def log(line: str) -> None:
    """One line to stderr; dropped where that would block or nobody reads it."""
    ready = select.poll()
    ready.register(2, select.POLLOUT)
    try:
        if ready.poll(0):
            os.write(2, f"relaunch keeper: {line}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass


def _keep_descriptors() -> None:
    """Have no child inherit anything beyond the standard streams, whatever this process was started with."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > 2:
            try:
                os.set_inheritable(fd, False)
            except OSError:  # it was that of the listing
                pass


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
