"""What the programs sync, and when, by strace: checked against POSIX, and shown to be checked.

The long form of the last test, every place of the code that syncs: `python -m tests.support.disk.mutations`.
"""

from pathlib import Path

import pytest

from tests.support.disk import mutations
from tests.support.disk.engine_work import ENGINES
from tests.support.disk.needed import strace_or_skip
from tests.support.disk.promises import Watch
from tests.support.disk.recording import ALICE, TEAM, record
from tests.support.disk.strace import events

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def needs_strace() -> None:
    strace_or_skip()


def test_real_workers_sync_in_time(tmp_path: Path) -> None:
    """At each 250, each delivery and each end of a message, what a power cut must not take is on disk."""
    made = record(tmp_path)
    lines = made.lines()
    watch = Watch(made.disk(lines))
    watch.follow(events(lines))
    assert watch.violations == []
    by_id = {sent.queue_id: sent for sent in made.sent}
    notices = set(watch.acknowledged) - by_id.keys()
    assert set(watch.acknowledged) == by_id.keys() | notices
    assert len(notices) == 1  # about the alias that went away
    for queue_id, sent in by_id.items():
        copies = {TEAM: 2, ALICE: 1}.get(sent.recipient)
        if copies is not None:
            assert queue_id in watch.finished
            assert len(watch.placed(queue_id)) == copies


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_alone_sync_in_time(tmp_path: Path, engine: str) -> None:
    """What an engine has said to be stored is on disk, from an empty state directory on."""
    assert mutations.violations(mutations.run(engine, tmp_path)) == []


@pytest.mark.parametrize(("run", "place"), [("workers", "queue"), ("index", "account_index"), ("directory", "sqlite")])
def test_a_missing_sync_is_noticed(run: str, place: str) -> None:
    """Without the first of the syncs of that module, the check of the same run fails."""
    first = next(one for one in mutations.places(run) if one.startswith(place))
    assert mutations.without(run, first) != []
