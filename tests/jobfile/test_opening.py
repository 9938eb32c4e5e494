"""Whose files are used, and what is done with what is no file."""

import os
from pathlib import Path

import pytest

from relaunch.errors import BadJobFile
from relaunch.jobfile import read_file, read_paths
from relaunch.jobfile.opening import BYTES_MAX

JOB = b'{"Label": "a", "Program": "/x"}'


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "a.json"
    path.write_bytes(JOB)
    path.chmod(0o644)
    return path


def refused(path: Path) -> str:
    with pytest.raises(BadJobFile) as caught:
        read_file(str(path))
    assert caught.value.message.startswith(str(path))
    return caught.value.message


def test_a_file_of_the_callers_own_is_read(job: Path) -> None:
    """[F5]"""
    assert read_file(str(job)).entries[0].spec.label == "a"


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o620])
def test_a_file_that_others_can_write_is_refused(job: Path, mode: int) -> None:
    """[F5]"""
    job.chmod(mode)
    assert f"can write it (mode {mode:o}); run: chmod go-w {job}" in refused(job)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who alone can give a file away")
def test_a_file_of_somebody_else_is_refused(job: Path) -> None:
    """[F5]"""
    os.chown(job, 12345, -1)
    assert "belongs to user 12345, neither to you nor to root" in refused(job)


def test_a_directory_in_which_anybody_can_replace_it_is_refused_unless_it_is_sticky(job: Path) -> None:
    """[F5]"""
    job.parent.chmod(0o777)
    assert "anybody can put another file in its place (mode 777" in refused(job)
    job.parent.chmod(0o1777)
    assert read_file(str(job)).entries


def test_what_a_symlink_leads_to_is_looked_at_and_the_directories_of_both(job: Path, tmp_path: Path) -> None:
    """[F5]"""
    links = tmp_path / "links"
    links.mkdir()
    link = links / "link.json"
    link.symlink_to(job)
    assert read_file(str(link)).entries
    links.chmod(0o777)
    assert "anybody can put another file in its place" in refused(link)
    links.chmod(0o755)
    job.chmod(0o666)
    assert "can write it" in refused(link)
    link.unlink()
    link.symlink_to(link)
    assert "symbolic links" in refused(link)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    """[F5]"""
    os.mkfifo(tmp_path / "fifo.json", 0o600)
    assert "is no regular file" in refused(tmp_path / "fifo.json")
    assert "is no regular file" in refused(Path("/dev/zero"))
    assert "No such file" in refused(tmp_path / "gone.json")
    (tmp_path / "d.json").mkdir()
    assert "is no regular file" in refused(tmp_path / "d.json")


def test_a_file_is_bounded(job: Path) -> None:
    """[F6]"""
    with job.open("ab") as file:
        file.truncate(BYTES_MAX + 1)
    assert f"{BYTES_MAX} are the most" in refused(job)


def test_a_directory_is_its_job_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    """[F1]"""
    for name, label in {"b.json": "b", "a.json": "a", ".hidden.json": "h", "c.txt": "c"}.items():
        (tmp_path / name).write_text(f'{{"Label": "{label}", "Program": "/x"}}')
    files = read_paths([str(tmp_path)])
    assert [file.entries[0].spec.label for file in files] == ["a", "b"]
    (tmp_path / "c.json").write_bytes(JOB)
    with pytest.raises(BadJobFile, match=r"c.json: the label 'a' is that of .*a.json too"):
        read_paths([str(tmp_path)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadJobFile, match=r"empty: holds no file whose name ends with .json, .plist, .toml"):
        read_paths([str(tmp_path / "empty")])
