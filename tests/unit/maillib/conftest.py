"""Fixtures of the tests that need sockets."""

from tests.support.event_loops import run

__all__ = ("run",)
