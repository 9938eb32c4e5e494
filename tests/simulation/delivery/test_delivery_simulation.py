"""Delivery keeps every promise in every story, and the simulation would notice if not.

`SIMULATION_SEEDS=1000000 pytest tests/simulation/delivery` tries a million; one story is shown by
`python -m tests.simulation.delivery.run --seed N`.
"""

import os

import pytest
from tests.simulation.delivery.planted import PLANTED
from tests.simulation.delivery.run import broken, broken_of_many
from tests.simulation.delivery.world import World

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "2000"))


@pytest.mark.timeout(0 if SEEDS > 2_000 else 300)
def test_every_promise_is_kept_in_every_story() -> None:
    """[D1] [D2] [D3] [D4] [D5] [D6] [D7] [D8] [D9] [D10] [D11] [D12]"""
    found = broken_of_many(range(SEEDS))
    assert found is None, f"python -m tests.simulation.delivery.run --seed {found[0]}: {found[1]}"


def test_the_same_seed_gives_the_same_story() -> None:
    for seed in range(5):
        worlds = [World(seed), World(seed)]
        for world in worlds:
            world.run()
        first, second = worlds
        assert first.steps == second.steps
        for name, source in first.sources.items():
            assert source.promises.told == second.sources[name].promises.told
            assert source.promises.story == second.sources[name].promises.story


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str) -> None:
    """[D1] [D2] [D3] [D4] [D5] [D6] [D8] [D9] [D10] [D11] [D12] Each forgets one rule."""
    parts, faults = PLANTED[name]
    assert broken(range(300), parts, faults) is not None
