"""SIGKILL of IMAP workers in traffic: the short run of `python -m tests.support.imap_kills`."""

import asyncio
from pathlib import Path

import pytest

from tests.support import imap_kills
from tests.support.imap_suite import ImapSuite

pytestmark = pytest.mark.real


def test_workers_are_killed_while_mailboxes_change(tmp_path: Path) -> None:
    """Each acknowledged APPEND, STORE, EXPUNGE and MOVE is there, others are done as a whole or not; no UID returns."""
    suite = ImapSuite(tmp_path)
    try:
        suite.start(processes=imap_kills.WORKERS)
        tally = asyncio.run(imap_kills.run(suite, operations=400, clients=8, every=50, seed=1))
        suite.ok("mailbox", "check", "--all")
    finally:
        suite.take_down()
    assert tally.operations.keys() == {"append", "expunge", "move", "store"}
    assert tally.kills >= 6
