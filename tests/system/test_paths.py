"""What is watched of paths, where the kernel forgets or loses something: real files, real mounts."""

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from relaunch.launcher import paths as watching
from relaunch.launcher.paths import Paths
from relaunch.launcher.seeing import Seen, is_far, see

DEADLINE_S = 20.0
EVENTS_MAX = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
# In a mount namespace of its own, so that nothing stays mounted: a file system comes, a file in it, and all goes again.
MOUNTED = """
import asyncio, subprocess, sys
from relaunch.launcher.paths import Paths
place = sys.argv[1]
async def test():
    told = asyncio.Queue()
    paths = Paths(told.put_nowait)
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    paths.watch(place + "/file")
    open(place + "/file", "w").close()
    assert await told.get() == {place + "/file"}
    subprocess.run(["umount", place], check=True)
    assert await told.get() == {place + "/file"}
    open(place + "/file", "w").close()
    assert await told.get() == {place + "/file"}
    paths.close()
asyncio.run(asyncio.wait_for(test(), 20))
"""


def test_when_the_kernels_queue_has_overflown_everything_is_looked_at(tmp_path: Path) -> None:
    """[S41] More happens to one file than the kernel keeps; what then happens to the other is seen all the same."""
    busy, quiet = tmp_path / "busy", tmp_path / "quiet"
    busy.touch()
    quiet.touch()

    async def test() -> set[str]:
        told: asyncio.Queue[set[str]] = asyncio.Queue()
        paths = Paths(told.put_nowait)
        paths.watch(str(busy))
        paths.watch(str(quiet))
        with busy.open("r+b", buffering=0) as file:
            for _ in range(EVENTS_MAX // 2 + 10):  # two that are alike would count once
                file.write(b"x")
                os.fchmod(file.fileno(), 0o600)
        quiet.write_text("changed")
        seen: set[str] = set()
        while str(quiet) not in seen:
            seen |= await told.get()
        paths.close()
        return seen

    assert asyncio.run(asyncio.wait_for(test(), DEADLINE_S)) == {str(busy), str(quiet)}


@pytest.mark.usefixtures("root")
def test_what_is_unmounted_is_looked_at_again(tmp_path: Path) -> None:
    """[S41] And what was below it is watched from then on."""
    command = ["unshare", "--mount", sys.executable, "-c", MOUNTED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_is_open_or_watched_for_nobody(tmp_path: Path) -> None:
    """[S24] The first path opens one descriptor, the others none; the last one leaves no watch."""
    names = [str(tmp_path / name) for name in ("a", "b", "c/d/e")]

    async def test() -> None:
        before = descriptors()
        paths = Paths(lambda _: None)
        assert descriptors() == before
        for name in names:
            paths.watch(name)
            paths.watch(name)
        (opened,) = descriptors() - before
        assert watches(opened) > 0
        for name in names:
            paths.unwatch(name)
            paths.unwatch(name)
        assert watches(opened) == 0
        paths.close()
        assert descriptors() == before

    asyncio.run(asyncio.wait_for(test(), DEADLINE_S))


def descriptors() -> set[int]:
    """Those of inotify's that this process has open."""
    found = set()
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            if os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:inotify":
                found.add(fd)
        except FileNotFoundError:  # the one by which the directory was read
            pass
    return found


def watches(fd: int) -> int:
    return Path(f"/proc/self/fdinfo/{fd}").read_text().count("inotify wd:")


@pytest.mark.parametrize("way", ["a/../file", "./file", "loop/file", "link"])
def test_odd_ways_to_a_file_are_ways_to_it(tmp_path: Path, way: str) -> None:
    """[S41] Dots and links; links that go round in circles lead nowhere, and end the search."""
    (tmp_path / "a").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("a/../file")
    path = str(tmp_path / way)

    async def test() -> None:
        told: asyncio.Queue[set[str]] = asyncio.Queue()
        paths = Paths(told.put_nowait)
        paths.watch(path)
        before = see(path)
        if way.startswith("loop"):
            assert not before.there
            (tmp_path / "loop").unlink()
            (tmp_path / "loop").symlink_to(".")
        else:
            (tmp_path / "file").write_text("changed")
        assert await told.get() == {path}
        assert see(path) != before
        assert see(path).there
        paths.close()

    asyncio.run(asyncio.wait_for(test(), DEADLINE_S))


MOUNTS = """\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
22 21 0:20 / /data rw shared:2 - nfs4 server:/data rw,vers=4.2
23 22 0:21 / /data/near rw - tmpfs none rw
24 21 0:22 / /mnt/with\\040blank rw - fuse.sshfs host:/ rw
25 21 0:23 / /mnt/auto rw - autofs systemd-1 rw
"""


@pytest.mark.parametrize(
    ("path", "far"),
    [
        ("/", False),
        ("/database/a", False),
        ("/data", True),
        ("/data/a/b", True),
        ("/data/near/a", False),
        ("/mnt/with blank/a", True),
        ("/mnt/auto/a", True),
        ("/mnt", False),
    ],
)
def test_what_others_serve_is_far(path: str, far: bool) -> None:
    """[S41] By the innermost place where something is mounted."""
    assert is_far(path, MOUNTS) == far
    assert not is_far(path)


def test_a_path_that_hangs_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[S41] It is what it was when last looked at; what is near is seen meanwhile, and it when it answers again."""
    near, far = tmp_path / "near", tmp_path / "far"
    near.touch()
    far.touch()
    answers = threading.Event()

    def slow(path: str) -> Seen:
        if path == str(far):
            assert answers.wait(DEADLINE_S)
        return see(path)

    monkeypatch.setattr(watching, "is_far", lambda path: path == str(far))
    monkeypatch.setattr(watching, "see", slow)

    async def test() -> None:
        told: asyncio.Queue[set[str]] = asyncio.Queue()
        paths = Paths(told.put_nowait)
        assert not paths.see(str(far)).there
        paths.watch(str(far))
        paths.watch(str(near))
        near.write_text("changed")
        assert await told.get() == {str(near)}
        assert not paths.see(str(far)).there
        answers.set()
        assert await told.get() == {str(far)}
        assert paths.see(str(far)) == see(str(far))
        far.write_text("changed")
        assert await told.get() == {str(far)}
        far.unlink()
        assert await told.get() == {str(far)}
        assert not paths.see(str(far)).there
        paths.close()

    asyncio.run(asyncio.wait_for(test(), DEADLINE_S))
