"""From job files to what each host is to run: hosts, words, order, stages."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from relaunch.applying.wanted import HERE, Wish, wish_of
from relaunch.errors import BadHost, BadJobFile, Usage
from relaunch.jobfile import JobFile, parse


def job(label: str, hosts: str | None = None, *depends_on: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"Label": label, "ProgramArguments": ["sleep", "1"], **more}
    if hosts:
        found["Hosts"] = hosts
    if depends_on:
        found["DependsOn"] = list(depends_on)
    return found


def a_file(*jobs: dict[str, Any], name: str = "c", **more: Any) -> JobFile:
    return parse(json.dumps({"Jobs": jobs, **more}).encode(), f"{name}.json")


def wish(*jobs: dict[str, Any], only: Sequence[str] = ()) -> Wish:
    return wish_of([a_file(*jobs)], only)


def stages_of(found: Wish) -> list[set[str]]:
    return [set(stage) for stage in found.stages]


def labels_of(found: Wish) -> dict[str, list[str]]:
    return {host: list(its.specs) for host, its in found.hosts.items()}


def test_each_host_gets_its_jobs_in_the_order_of_the_files() -> None:
    """[A1]"""
    found = wish(job("kv", "n[1-3]"), job("web", "n3,n1"), job("here"))
    assert labels_of(found) == {"n1": ["kv", "web"], "n2": ["kv"], "n3": ["kv", "web"], HERE: ["here"]}
    assert list(found.hosts) == ["n1", "n2", "n3", HERE]


def test_words_stand_for_something_else_on_each_host() -> None:
    """[A1] [F11]"""
    line = ["x", "{host}", "{index}/{count}", "{hosts}"]
    found = wish(job("kv", "n[1-2]", ProgramArguments=line), job("here", ProgramArguments=["awk", "{print}"]))
    assert found.hosts["n2"].specs["kv"].argv == ("x", "n2", "2/2", "n1,n2")
    assert found.hosts[HERE].specs["here"].argv == ("awk", "{print}")


def test_a_host_keeps_its_number_where_others_are_left_out() -> None:
    """[A7]"""
    jobs = [
        job("kv", "n[1-3]", ProgramArguments=["x", "{index} {hosts}"]),
        job("any", ProgramArguments=["x", "{host}"]),
    ]
    found = wish(*jobs, only=["n3"])
    assert labels_of(found) == {"n3": ["kv", "any"]}
    assert found.hosts["n3"].specs["kv"].argv == ("x", "3 n1,n2,n3")
    assert found.hosts["n3"].specs["any"].argv == ("x", "n3")


def test_a_host_that_no_file_names_is_refused_unless_it_may_be_one() -> None:
    """[A7]"""
    file = a_file(job("kv", "n[1-3]"))
    with pytest.raises(Usage, match=r"n4 is a host of no job in c\.json"):
        wish_of([file], ["n1", "n4"])
    assert labels_of(wish_of([file], ["n4"], strangers=True)) == {"n4": []}


def test_what_is_wanted_is_of_the_cluster_that_the_file_names() -> None:
    """[A6]"""
    files = [a_file(job("kv", "n1"), Cluster="store"), a_file(job("web", "n1"), name="front")]
    found = wish_of(files)
    assert found.names == {"store", "front"}
    assert {spec.label: spec.origin for spec in found.hosts["n1"].specs.values()} == {"kv": "store", "web": "front"}


def test_jobs_come_after_those_that_they_depend_on() -> None:
    """[A3]"""
    found = wish(job("web", "n1", "kv", "log"), job("kv", "n1", "disk"), job("log", "n1"), job("disk", "n1"))
    assert list(found.hosts["n1"].specs) == ["log", "disk", "kv", "web"]
    assert stages_of(found) == [{"web", "kv", "log", "disk"}]
    assert found.hosts["n1"].specs["web"].depends_on == ("kv", "log")


def test_what_runs_on_the_same_host_is_waited_for_there() -> None:
    """[A3]"""
    found = wish(job("kv", "n[1-3]"), job("web", "n1", "kv"))
    assert not found.needs["web"]
    assert stages_of(found) == [{"kv", "web"}]
    assert found.hosts["n1"].specs["web"].depends_on == ("kv",)


def test_a_job_that_needs_other_hosts_is_in_a_later_stage_and_does_not_wait_there() -> None:
    """[A3]"""
    found = wish(job("top", "n9", "web"), job("web", "n[1,8]", "kv", "log"), job("kv", "n[1-3]"), job("log", "n[1,8]"))
    assert stages_of(found) == [{"kv", "log"}, {"web"}, {"top"}]
    assert found.needs == {"top": {"web"}, "web": {"kv"}, "kv": set(), "log": set()}
    assert found.hosts["n1"].specs["web"].depends_on == ("kv", "log")
    assert found.hosts["n8"].specs["web"].depends_on == ("log",)
    assert found.hosts["n9"].specs["top"].depends_on == ()


def test_a_job_means_the_same_whichever_hosts_are_left_out() -> None:
    """[A7]"""
    jobs = [job("kv", "n[1-3]"), job("web", "n[3-4]", "kv")]
    whole, part = wish(*jobs), wish(*jobs, only=["n4"])
    assert part.hosts["n4"] == whole.hosts["n4"]
    assert part.warnings == ["web depends on kv of hosts that are left out; those are not looked at"]
    assert not whole.warnings


def test_disabled_jobs_are_not_to_run() -> None:
    """[A5]"""
    found = wish(job("kv", "n1", Disabled=True), job("web", "n1", "kv"))
    assert labels_of(found) == {"n1": ["web"]}
    assert found.hosts["n1"].disabled == {"kv"}
    assert found.hosts["n1"].labels == {"kv", "web"}
    assert found.warnings == ["c.json:1: DependsOn names kv, which is Disabled; nothing here makes it ready"]


def test_a_dependency_that_no_job_has_is_named() -> None:
    """[A3]"""
    (warning,) = wish(job("web", "n1", "kv")).warnings
    assert warning == "c.json:1: DependsOn names kv, which no job here has; it waits for one that is ready"


def test_a_circle_is_refused() -> None:
    """[A3]"""
    with pytest.raises(BadJobFile, match=r"DependsOn goes round in a circle: (a -> b -> a|b -> a -> b)$"):
        wish(job("a", "n1", "b"), job("b", "n2", "a"))


@pytest.mark.parametrize("indent", [None, 1])
def test_a_label_twice_on_a_host_is_refused_and_on_two_hosts_is_not(indent: int | None) -> None:
    """[A1]"""

    def two(hosts: str) -> JobFile:
        jobs = [job("kv", "n[1-2]"), job("kv", hosts, Nice=1)]
        return parse(json.dumps({"Jobs": jobs}, indent=indent).encode(), "c.json")

    assert labels_of(wish_of([two("n3")])) == {"n1": ["kv"], "n2": ["kv"], "n3": ["kv"]}
    with pytest.raises(BadJobFile, match=r"c\.json:\d+: kv is wanted on n2 by c\.json:\d+ already"):
        wish_of([two("n2")])
    with pytest.raises(BadJobFile, match="is wanted on n1"):
        wish_of([a_file(job("kv", "n1")), a_file(job("kv", "n1"), name="d")])


def test_a_file_that_is_named_twice_is_read_as_one() -> None:
    """[A1]"""
    assert labels_of(wish_of([a_file(job("kv", "n1"))] * 2)) == {"n1": ["kv"]}


def test_malformed_hosts_are_refused_with_their_place() -> None:
    """[A1] [F4]"""
    with pytest.raises(Usage, match=r"^c\.json:1: Hosts 'n\[1-' is no set of hosts"):
        wish(job("kv", "n[1-"))
    with pytest.raises(BadHost):
        wish(job("kv", "-oProxyCommand=x"))
