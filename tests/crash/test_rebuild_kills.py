"""SIGKILL before every single system call and statement of a rebuild and of a repair; then the same verb once more."""

import itertools
import os
import sqlite3
import subprocess
from contextlib import suppress
from pathlib import Path

from maillib.embedded.account_check import check_account, repair_account
from maillib.embedded.rebuild import rebuild
from maillib.embedded.sidecar import Flagged, Sidecar
from maillib.errors import StoreDamaged
from maillib.ports.index import MailboxId, ModSeq, Uid
from tests.support.kills import dies_at
from tests.support.store_world import ADDRESSES, ALICE, Seen, StoreWorld

OWNER = ADDRESSES[ALICE]


def filled(state_dir: Path) -> tuple[StoreWorld, list[Seen]]:
    """Two messages, one of which has a flag, and an index that is kept open no longer."""
    world = StoreWorld(state_dir)
    world.receive("carol@elsewhere.test", ALICE)
    world.append(ALICE, b"Subject: mine\r\n\r\n")
    Sidecar(world.folder()).note([Flagged(MailboxId(1), ModSeq(9), [Uid(2)], frozenset({"\\Seen"}))], list)
    rebuild(state_dir, ALICE, OWNER)
    return world, world.seen()


def copied(world: StoreWorld, state_dir: Path) -> StoreWorld:
    """With names, times and modes, as a backup does it, links too."""
    subprocess.run(["cp", "-a", str(world.state_dir), str(state_dir)], check=True)
    return StoreWorld(state_dir)


def whole(world: StoreWorld) -> list[Seen]:
    with world.index() as accounts, accounts.use(ALICE) as index:
        assert check_account(index) == []
    return world.seen()


def test_rebuild_killed_at_every_step(tmp_path: Path) -> None:
    """The account is as it was, or lost, never something else; the next rebuild makes it whole, with no UID twice."""
    template, before = filled(tmp_path / "template")
    for step in itertools.count(1):
        world = copied(template, tmp_path / str(step))

        def remake(world: StoreWorld = world) -> None:
            rebuild(world.state_dir, ALICE, OWNER)

        killed = dies_at(step, remake)
        with suppress(StoreDamaged):
            assert world.seen() == before
        remake()
        assert whole(world) == before
        if not killed:
            break
    assert step > 40


def test_repair_killed_at_every_step(tmp_path: Path) -> None:
    """No octets are lost and none are doubled, wherever it was that a repair died."""
    template, before = filled(tmp_path / "template")
    with sqlite3.connect(template.folder() / "index.sqlite3") as connection:
        connection.executescript("DELETE FROM message WHERE uid = 1; DELETE FROM content WHERE uid = 1")
    connection.close()
    template.body(ALICE, 7).write_bytes(b"of a message that was expunged")
    os.link(template.body(ALICE, 2), template.body(ALICE, 9))
    for step in itertools.count(1):
        world = copied(template, tmp_path / str(step))

        def repair(world: StoreWorld = world) -> None:
            with world.index() as accounts, accounts.use(ALICE) as index:
                repair_account(index, OWNER)

        killed = dies_at(step, repair)
        repair()
        octets = sorted(message.octets for message in whole(world))
        assert octets == sorted([b"of a message that was expunged", *(message.octets for message in before)])
        if not killed:
            break
    assert step > 20
