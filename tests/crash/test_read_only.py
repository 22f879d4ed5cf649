"""A state directory that can only be read: said clearly, no crash loop, and all well when it can be written again."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mail_suite import MailSuite
from tests.support.real_suite import eventually
from tests.support.small_disk import read_only

pytestmark = pytest.mark.real


@pytest.fixture
def suite(tmp_path: Path) -> Iterator[MailSuite]:
    made = MailSuite(tmp_path)
    made.start()
    yield made
    made.take_down()


def kill_workers(suite: MailSuite) -> None:
    for file in (suite.place.run / "services").glob("*/workers/*.json"):
        os.kill(int(file.stem), signal.SIGKILL)


def test_while_everything_runs(suite: MailSuite) -> None:
    """What dies then is not started in a loop, `status` tells why, and it comes back by itself."""
    masters = suite.pids()
    suite.send("before")
    suite.wait_for("before")
    with read_only(suite.place.state_dir):
        kill_workers(suite)
        eventually(lambda: suite.run("status").err.count("Read-only file system") == len(masters), "the reasons")
        status = suite.run("status")
        assert status.code == 3
        assert f"{suite.place.logs}/smtp.log" in status.err
        assert suite.pids() == masters
    eventually(lambda: suite.run("status").code == 0, "all as wanted")
    assert suite.pids() == masters
    suite.send("after")
    suite.wait_for("before", "after")


def test_at_the_start(suite: MailSuite) -> None:
    """`apply` changes nothing, says what is wrong and leaves nothing running; later it works."""
    suite.ok("down", "--drain", "0s")
    with read_only(suite.place.state_dir):
        done = suite.run("apply")
        assert done.code == 73
        assert f"{suite.place.state_dir} is on a file system that is mounted read-only" in done.err
        assert suite.processes() == set()
    suite.ok("apply")
    suite.send("after")
    suite.wait_for("after")
