"""The simulation keeps every promise, and would notice if not.

`SIMULATION_SEEDS=1000000 pytest tests/simulation` tries more; `python -m tests.simulation.run --seed N` shows one life.
"""

import os

import pytest
from tests.simulation.planted import PLANTED
from tests.simulation.run import broken
from tests.simulation.simulation import Faults, Parts, Simulation

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "300"))


def test_every_promise_is_kept_in_every_life() -> None:
    """[S1] [S2] [S4] [S5] [S6] [S7] [S8] [S20] [S21] [S22] [J1] [J2]"""
    found = broken(range(SEEDS))
    assert found is None, f"python -m tests.simulation.run --seed {found[0]}: {found[1]}"


@pytest.mark.parametrize("seed", [0, 4])
def test_a_launcher_may_die_at_any_step(seed: int) -> None:
    """[S2] [S21] [J2] Before and after each commit, order and signal, one after the other."""
    whole = Simulation(seed, Parts(), Faults())
    whole.run()
    for step in range(1, whole.steps + 1):
        Simulation(seed, Parts(), Faults(launcher_dies_at=step)).run()


def test_the_same_seed_gives_the_same_life() -> None:
    for seed in range(5):
        lives = [Simulation(seed), Simulation(seed)]
        for life in lives:
            life.run()
        assert lives[0].journal.entries == lives[1].journal.entries
        assert lives[0].steps == lives[1].steps


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str) -> None:
    """[S2] [S4] [S5] [S6] [S7] [S8] [S20] [S21] [S22] Each forgets one rule."""
    parts, faults = PLANTED[name]
    assert broken(range(300), parts, faults) is not None
