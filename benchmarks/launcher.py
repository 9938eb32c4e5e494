"""A launcher of a benchmark's own, and the table that each benchmark prints."""

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from relaunch import JobStatus

LAUNCH = Path(sys.executable).with_name("launch")
Environment = dict[str, str]


@contextlib.contextmanager
def launcher() -> Iterator[Environment]:
    """A launcher in a private place, ended and removed afterwards; gives the environment that finds it."""
    # Not /tmp: an ext4 without a journal takes up to a millisecond to make a file where thousands were deleted in the
    # last minutes, as test runs do there, and that would be measured instead.
    place = tempfile.mkdtemp(prefix="relaunch-", dir=os.environ.get("BENCHMARK_DIRECTORY", "/var/tmp"))
    environment = os.environ | {"XDG_RUNTIME_DIR": f"{place}/run", "XDG_STATE_HOME": f"{place}/state"}
    # With it, nothing that was imported is kept compiled, and each run would compile the command anew; nobody's
    # environment is like that. The floor is measured without it too.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run([LAUNCH, "serve", "--background"], env=environment, check=True, stdout=subprocess.DEVNULL)
    try:
        yield environment
    finally:
        subprocess.run([LAUNCH, "shutdown"], env=environment, check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(place)


def pid_of(job: JobStatus) -> int:
    """Whom to kill; not to be taken for 0 where there is none, which stands for the caller's own process group."""
    if job.pid is None:
        raise SystemExit(f"{job.label} is not running: {job.state}")
    return job.pid


def p99(values: Sequence[float]) -> float:
    """The 99th percentile, the largest of a hundred or fewer."""
    return sorted(values)[max(0, -(-len(values) * 99 // 100) - 1)]


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, numbers to the right."""
    print(title)
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  " + "  ".join(cells))


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)
