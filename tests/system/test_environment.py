"""What a job finds in its environment."""

import json
from pathlib import Path

from tests.system.evidence import jobs
from tests.system.launcher_host import Host, wait_for
from tests.system.peer import Peer


def environment_of_job(host: Host, path: Path, **spec: object) -> dict[str, str]:
    """The environment of a job, told by the job itself."""
    script = "import json, os; print(json.dumps(dict(os.environ)))"
    with Peer(host.socket) as peer:
        peer.submit("group/told", "python3", "-c", script, stdout=str(path), **spec)
        peer.call("Wait", {"patterns": ["group/told"]})
    told: dict[str, str] = json.loads(path.read_text())
    return told


def test_a_job_can_tell_which_job_it_is(host: Host, tmp_path: Path) -> None:
    """[S14] Id, run, label and socket."""
    found = environment_of_job(host, tmp_path / "told")
    job = jobs(host)["group/told"]
    assert {name: value for name, value in found.items() if name.startswith("LAUNCH_")} == {
        "LAUNCH_JOB_ID": job["id"],
        "LAUNCH_JOB_RUN": "1",
        "LAUNCH_JOB_LABEL": "group/told",
        "LAUNCH_JOB_SOCKET": str(host.socket),
    }


def test_a_restarted_job_has_the_next_run(host: Host, tmp_path: Path) -> None:
    """[S14] [S9] The run is the one that is counted."""
    environment_of_job(host, tmp_path / "told")
    (tmp_path / "told").unlink()
    with Peer(host.socket) as peer:
        peer.call("Restart", {"patterns": ["group/told"]})
        peer.call("Wait", {"patterns": ["group/told"]})
    wait_for((tmp_path / "told").exists, what="it tells again")
    assert json.loads((tmp_path / "told").read_text())["LAUNCH_JOB_RUN"] == "2"


def test_what_is_asked_for_comes_on_top(host: Host, tmp_path: Path) -> None:
    """[S14] The rest is the launcher's own."""
    found = environment_of_job(host, tmp_path / "told", env={"PATH": host.env["PATH"], "COLOUR": "blue"})
    assert found["COLOUR"] == "blue"
    assert found["XDG_STATE_HOME"] == host.env["XDG_STATE_HOME"]
