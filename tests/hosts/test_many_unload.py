"""``launch -H HOSTS unload``: jobs of many hosts are ended and forgotten."""

from tests.hosts.commanding import Client
from tests.hosts.sshd import SshNetwork


def test_jobs_are_unloaded_by_label_on_each_host(five: SshNetwork) -> None:
    """[F8] [R8] [R9]"""
    client = Client(five)
    client.over("submit", "-l", "g/p", "--", "sleep", "120")
    assert client.over("unload", "g/*") == "host[1-5]: g/p: unloaded\n"
    assert client.over("unload", "g/p", status=1).startswith("launch: host[1-5]: ")
    assert all(host.jobs() == {} for host in five.ssh_hosts)
