"""A simulated keeper: holds each key until it is forgotten, and tells the same launcher, or the next one.

Knows the rules at the top of ``relaunch.keeper.wire``. Refuses to know jobs.
"""

from dataclasses import dataclass, replace

from tests.simulation.host import Host, Process


@dataclass(frozen=True, slots=True)
class Order:
    """``spawn``, ``adopt``, ``forget`` or ``up``."""

    op: str
    job_id: str = ""
    run: int = 0
    pid: int = 0
    ticks: int = 0
    boot: int = 0
    fails: bool = False

    @property
    def key(self) -> str:
        return f"{self.job_id}.{self.run}"


@dataclass(frozen=True, slots=True)
class Report:
    """``spawned``, ``failed`` or ``exited``."""

    event: str
    key: str
    pid: int = 0
    ticks: int = 0
    status: int | None = None
    adopted: bool = False


class Keeper:
    """The parent of the processes of its generation."""

    def __init__(self, host: Host) -> None:
        host.generation += 1
        self.generation = host.generation
        self.held: dict[str, Report] = {}
        self.starts = 0
        self.up = False
        self._host = host
        self._watched: dict[Process, str] = {}

    def carry_out(self, order: Order) -> Report | None:
        """Gives the answer, where there is one."""
        match order.op:
            case "spawn":
                return self.spawn(order)
            case "adopt":
                return self.held.get(order.key) or self._adopt(order)
            case "forget":
                self.held.pop(order.key, None)
            case _:
                self.up = True
        return None

    def spawn(self, order: Order) -> Report:
        """Execute, once for each key."""
        if order.key in self.held:
            return self.held[order.key]
        if order.fails:
            return Report("failed", order.key)
        process = self._host.execute(order.job_id, order.run)
        return self._watch(process, order.key, adopted=False)

    def _adopt(self, order: Order) -> Report:
        process = self._host.processes.get(order.pid)
        if process is None or process.ticks != order.ticks or order.boot != self._host.boot:
            return self._hold(Report("exited", order.key, order.pid))
        return self._watch(process, order.key, adopted=process.keeper != self.generation)

    def _watch(self, process: Process, key: str, *, adopted: bool) -> Report:
        self._watched[process] = key
        return self._hold(Report("spawned", key, process.pid, process.ticks, adopted=adopted))

    def _hold(self, report: Report) -> Report:
        self.held[report.key] = report
        return report

    def ended(self, process: Process) -> Report | None:
        """Told of each end; gives the report where a key is held for it."""
        key = self._watched.pop(process, None)
        if key is None:
            return None
        told = self.held[key]
        known = not told.adopted or self._host.rng.random() < 0.5
        return self._hold(replace(told, event="exited", status=process.status if known else None))
