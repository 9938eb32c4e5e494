"""What tests of every kind ask for."""

import os

import pytest


@pytest.fixture
def root() -> None:
    """For what only root can do; anybody else is told by name what was left out."""
    if os.geteuid() != 0:
        pytest.skip("only root can play another user, or mount")
