"""The diagram of a job's states is the code's. [S1]"""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "draw-states"


def test_the_diagram_is_that_of_the_code() -> None:
    """[S1] Where it is not: run scripts/draw-states."""
    run = subprocess.run([sys.executable, SCRIPT, "--check"], check=False)
    assert run.returncode == 0, "docs/job-states.md is not what scripts/draw-states writes"
