"""The file of a named subscription, harmed by somebody else while its subscriber uses it. [D26]"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.system.played_launcher import attached, call, enact, entry, sequence_of, subscribed, taken

from relaunch import database
from relaunch.places import state_directory
from relaunch.subscriber import store
from relaunch.subscriber.subscription import Subscription
from relaunch.subscription import SubscriptionSpec

NAME = "night"
Scene = Callable[[Subscription, SubscriptionSpec], Awaitable[None]]


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def _life(scene: Scene) -> None:
    async def play() -> None:
        async with subscribed(0, name=NAME) as (subscription, spec):
            await scene(subscription, spec)

    enact(play)


def _removed(path: Path) -> None:
    for suffix in database.SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _log_removed(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


def _replaced(path: Path) -> None:
    _removed(path)
    path.write_bytes(b"an old one")


def _overwritten(path: Path) -> None:
    for suffix in database.SUFFIXES:
        with path.with_name(path.name + suffix).open("r+b") as file:
            file.write(b"\xff" * 8192)


@pytest.mark.parametrize("harm", [_removed, _log_removed, _replaced, _overwritten])
def test_a_file_that_is_harmed_while_it_is_used_is_written_anew(
    harm: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """[D26] [D33] The next life is the same to its launchers, and goes on where this one ended."""
    monkeypatch.setattr(store, "LOOK_S", 0.0)
    ids: list[str] = []

    async def first(subscription: Subscription, spec: SubscriptionSpec) -> None:
        ids.append(spec.id)
        played = await attached(spec)
        played.deliver(*(entry(n) for n in range(1, 4)))
        assert (await taken(subscription)).sequence == 1
        harm(Path(state_directory(), "subscribers", f"{NAME}.db"))
        assert (await taken(subscription)).sequence == 2
        await played.acked(1)

    async def second(subscription: Subscription, spec: SubscriptionSpec) -> None:
        ids.append(spec.id)
        played = await call(spec)
        assert sequence_of(await played.attach(spec)) == 1
        played.deliver(*(entry(n) for n in range(2, 4)))
        events = [await taken(subscription) for _ in range(2)]
        assert [(event.sequence, event.redelivered) for event in events] == [(2, True), (3, False)]

    _life(first)
    assert f"subscription {NAME}: its file has been written anew" in caplog.text
    _life(second)
    assert ids[0] == ids[1]
