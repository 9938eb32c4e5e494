"""What a person types for jobs, as whole commands against a real launcher."""

from tests.system.launcher_host import Host, alive


def test_a_submitted_job_is_listed_until_it_is_stopped(host: Host) -> None:
    submitted = host.launch("submit", "-l", "p1", "-p", "sleep", "120")
    job = host.job("p1")
    assert submitted.stdout == f"p1: running, pid {job['pid']}\n"
    assert job["state"] == "running"
    assert job["argv"] == ["sleep", "120"]
    assert alive(job["pid"])
    assert host.launch("stop", "p1").stdout == "p1: stopped (TERM)\n"
    assert not alive(job["pid"])
    assert host.job("p1")["state"] == "exited"
