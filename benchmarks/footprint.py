"""What keeper and launcher cost at rest: memory with no job and with a thousand, and CPU in 20 idle seconds.

The floor is a Python interpreter of the same kind that does nothing. Bounds: the keeper's resident size, and no CPU
time and no wake-up at all while nothing happens.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from launcher import LAUNCH, Environment, launcher, table
from submit_throughput import Client

IDLE_S = 20
KEEPER_MIB_BOUND = 12.0
KEEPER_FULL_MIB_BOUND = 12.5


def resident_mib(pid: int) -> float:
    """VmRSS."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def proportional_mib(pid: int) -> float:
    """Pss: pages that are shared are divided among those who share them."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def ticks(pid: int) -> int:
    """CPU time, user and system, in the kernel's ticks."""
    words = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return int(words[11]) + int(words[12])


def wake_ups(pid: int) -> int:
    """How often its threads have waited for something and got it."""
    switches = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        lines = (thread / "status").read_text("ascii").splitlines()
        switches += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary"))
    return switches


def pids(environment: Environment) -> dict[str, int]:
    """Keeper and launcher."""
    done = subprocess.run([LAUNCH, "status", "--json"], env=environment, check=True, capture_output=True)
    status = json.loads(done.stdout)
    return {"keeper": status["keeper_pid"], "launcher": status["launcher_pid"]}


def main() -> int:
    """Measure and print; the exit status says whether the bounds hold."""
    bare = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=-1, stdout=-1)
    assert bare.stdout is not None
    bare.stdout.readline()
    rows = [["bare Python", f"{resident_mib(bare.pid):.1f}", f"{proportional_mib(bare.pid):.1f}", "", "", ""]]
    bare.kill()
    bare.wait()
    fine = True
    with launcher() as environment:
        names = pids(environment)
        empty = {name: resident_mib(pid) for name, pid in names.items()}
        client = Client(environment)
        client.pipelined()
        settled = os.times().elapsed + 1.0
        while os.times().elapsed < settled:
            time.sleep(0.1)
        before = {name: (ticks(pid), wake_ups(pid)) for name, pid in names.items()}
        time.sleep(IDLE_S)
        for name, pid in names.items():
            cpu_s = (ticks(pid) - before[name][0]) / os.sysconf("SC_CLK_TCK")
            woken = wake_ups(pid) - before[name][1]
            full, shared = resident_mib(pid), proportional_mib(pid)
            fine &= cpu_s == 0.0 and woken == 0
            if name == "keeper":
                fine &= empty[name] <= KEEPER_MIB_BOUND and full <= KEEPER_FULL_MIB_BOUND
            rows.append([name, f"{empty[name]:.1f}", f"{shared:.1f}", f"{full:.1f}", f"{cpu_s:.1f}", str(woken)])
        client.stop_all()
    header = ["MiB and seconds", "resident", "Pss, full", "resident, full", f"CPU in {IDLE_S} s", "wake-ups"]
    keeper = f"keeper <= {KEEPER_MIB_BOUND} MiB, full <= {KEEPER_FULL_MIB_BOUND}"
    title = f"At rest; full = with 1,000 jobs. Bounds: {keeper}, CPU and wake-ups 0"
    table(title, header, rows)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
