"""What tests of every kind ask for."""

import os
import signal

import pytest

# A script's shell ignores it for what it puts into the background, and the commands under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def root() -> None:
    """For what only root can do; anybody else is told by name what was left out."""
    if os.geteuid() != 0:
        pytest.skip("only root can play another user, or mount")
