"""Suites under a real supervisord, taken down after each test, and engines of the store, in scratch folders."""

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mail_suite import MailSuite
from tests.support.real_suite import RealSuite
from tests.support.store_engines import OPENERS, Keeps, keep


@pytest.fixture
def line_suite(tmp_path: Path) -> Iterator[RealSuite]:
    """A suite whose `pop` services speak lines only: for tests of the control plane alone."""
    suite = RealSuite.of_lines(tmp_path)
    yield suite
    suite.take_down()


@pytest.fixture
def mail_suite(tmp_path: Path) -> Iterator[MailSuite]:
    """SMTP, spool and POP with two accounts; the test starts it."""
    suite = MailSuite(tmp_path)
    yield suite
    suite.take_down()


@pytest.fixture(params=OPENERS)
def keeps(request: pytest.FixtureRequest, tmp_path: Path) -> Keeps:
    """Holds a promise against a fresh store of each engine."""
    return functools.partial(keep, OPENERS[request.param], tmp_path)
