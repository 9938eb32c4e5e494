"""Fixtures of the tests that run other people's programs on hosts of their own."""

from tests.hosts.conftest import connect_ssh

__all__ = ["connect_ssh"]
