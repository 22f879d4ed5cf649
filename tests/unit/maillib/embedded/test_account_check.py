"""What `postroom mailbox check` finds and `repair` mends."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from maillib.embedded.account_check import check_account, repair_account
from maillib.embedded.found_bodies import LAST_GIVEN
from maillib.embedded.rebuild import rebuild
from maillib.embedded.sidecar import Flagged, Gone, Sidecar
from maillib.errors import StoreUnusable
from maillib.ports.index import INBOX, LAST_UID, MailboxId, ModSeq, Uid
from tests.support.store_world import ADDRESSES, ALICE, BOB, StoreWorld

CAROL = "carol@elsewhere.test"
OWNER = ADDRESSES[ALICE]
SEEN = frozenset({"\\Seen"})


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    """Alice has three messages, of which the second is Bob's, too."""
    world = StoreWorld(tmp_path)
    world.receive(CAROL, ALICE)
    world.receive("", ALICE, BOB)
    world.append(ALICE, b"Subject: mine\r\n\r\n")
    assert check(world) == []
    return world


def check(world: StoreWorld) -> list[str]:
    with world.index() as accounts, accounts.use(ALICE) as index:
        return check_account(index)


def repair(world: StoreWorld) -> tuple[list[str], list[str]]:
    """What was mended, and what was left."""
    with world.index() as accounts, accounts.use(ALICE) as index:
        found = repair_account(index, OWNER)
    assert not check(world) or any(not one.is_mended for one in found)
    mended, left = ([one.text for one in found if one.is_mended is mended] for mended in (True, False))
    return mended, left


def sql(world: StoreWorld, statement: str) -> None:
    with sqlite3.connect(world.folder() / "index.sqlite3") as connection:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE mailbox SET messages = 7", "mailbox 1 counts 7 messages, but holds 3"),
        ("UPDATE mailbox SET octets = octets + 1", "mailbox 1 counts "),
        ("UPDATE mailbox SET unseen = 0", "mailbox 1 counts 0 messages without \\Seen, but holds 3"),
        ("UPDATE mailbox SET uid_next = 2", "mailbox 1 has a UID that it has not given out yet"),
        ("UPDATE mailbox SET name = 'INBOX', uid_validity = 7", "mailboxes.json is not what the index says"),
    ],
)
def test_counters(world: StoreWorld, statement: str, finding: str) -> None:
    """What follows from the rows is found wrong, and made right; the messages stay as they were."""
    before = world.seen()
    sql(world, statement)
    (found,) = check(world)
    assert found.startswith(finding)
    assert repair(world) == ([found], [])
    assert world.seen() == before


def test_a_message_without_body_goes(world: StoreWorld) -> None:
    """It is named, and its UID is not used again."""
    before = world.seen()
    world.body(ALICE, 3).unlink()
    assert repair(world) == (["message 3 of mailbox 1 has no body"], [])
    assert world.seen() == before[:2]
    world.receive(CAROL, ALICE)
    assert [message.uid for message in world.seen()] == [1, 2, 4]


def test_a_body_of_another_size_is_left(world: StoreWorld) -> None:
    """Nobody can say which of the two is right."""
    world.body(ALICE, 1).write_bytes(b"changed")
    mended, left = repair(world)
    assert mended == []
    assert [text.partition(" octets")[0] for text in left] == ["message 1 of mailbox 1 has a body of 7"]


def with_flags(world: StoreWorld) -> Sidecar:
    """Alice has seen all her messages."""
    sql(world, "UPDATE message SET flags = 1")
    sql(world, "UPDATE mailbox SET unseen = 0")
    files = Sidecar(world.folder())
    files.rewrite(lambda: [Flagged(MailboxId(1), ModSeq(9), [Uid(1), Uid(2), Uid(3)], SEEN)])
    assert check(world) == []
    return files


def assert_written(files: Sidecar) -> None:
    listed = files.read_mailboxes()
    assert listed is not None
    assert [box.name for box in listed.mailboxes] == [INBOX]
    assert {uid: flags for uid, (_, flags) in files.read_notes()[MailboxId(1)].flags.items()} == dict.fromkeys(
        (1, 2, 3), SEEN
    )


@pytest.mark.parametrize(
    ("name", "damage", "finding"),
    [
        ("mailboxes.json", lambda path: path.write_bytes(b"{"), "mailboxes.json is damaged"),
        ("flags.log", Path.unlink, "flags.log is missing"),
    ],
)
def test_files_beside_the_index(world: StoreWorld, name: str, damage: Callable[[Path], object], finding: str) -> None:
    """They are written again from what the index holds."""
    files = with_flags(world)
    damage(world.folder() / name)
    mended, left = repair(world)
    assert [finding in text for text in mended] == [True]
    assert left == []
    assert_written(files)


def test_an_account_of_an_earlier_version(world: StoreWorld) -> None:
    """What has nothing beside its index gets it with the next opening."""
    files = with_flags(world)
    for name in ("mailboxes.json", "flags.log"):
        (world.folder() / name).unlink()
    assert check(world) == []
    assert_written(files)


def test_a_body_that_no_row_knows_becomes_a_message(world: StoreWorld) -> None:
    """Below UIDNEXT it gets a new UID, since clients know that the old one is gone; nothing of it changes else."""
    before = world.seen()
    sql(world, "DELETE FROM message WHERE uid = 1")
    sql(world, "DELETE FROM content WHERE uid = 1")
    sql(
        world,
        "UPDATE mailbox SET (messages, unseen, octets) = (SELECT count(*), count(*), sum(size_octets) FROM message)",
    )
    (text,) = check(world)
    assert text == f"{world.body(ALICE, 1)} is a whole message that the index does not know"
    assert repair(world) == ([text], [])
    after = world.seen()
    assert [message.uid for message in after] == [2, 3, 4]
    assert (after[-1].octets, after[-1].internal_date) == (before[0].octets, before[0].internal_date)
    assert not world.body(ALICE, 1).exists()


def test_an_index_older_than_its_mail(world: StoreWorld) -> None:
    """Messages that came after a backup of the index keep their UIDs."""
    index = world.folder() / "index.sqlite3"
    older = index.read_bytes()
    for sender in (CAROL, "", "jürgen@example.test"):
        world.receive(sender, ALICE)
    before = world.seen()
    index.write_bytes(older)
    assert len(check(world)) == 3
    mended, left = repair(world)
    assert (len(mended), left) == (3, [])
    assert world.seen() == before
    world.receive(CAROL, ALICE)
    assert [message.uid for message in world.seen()] == [*range(1, 8)]


def test_delivery_to_an_index_older_than_its_mail(world: StoreWorld, capfd: pytest.CaptureFixture[str]) -> None:
    """What comes before anybody has noticed replaces no message, and repair makes whole what is there."""
    index = world.folder() / "index.sqlite3"
    older = index.read_bytes()
    world.receive("kept@x.test", ALICE, BOB)  # one body with two names
    world.append(ALICE, b"kept, too")
    before = world.seen()
    index.write_bytes(older)
    world.receive("new@x.test", ALICE)
    assert "0000000004.eml is kept" in capfd.readouterr().err
    assert [message.uid for message in world.seen()] == [1, 2, 3, 6]
    assert len(check(world)) == 2
    repair(world)
    after = world.seen()
    assert {message.octets for message in before} < {message.octets for message in after}
    assert len(after) == 6


def test_a_broken_off_append_is_replaced(world: StoreWorld) -> None:
    """A name whose body somebody else still has is taken by the next message, and nothing is left of the old one."""
    queue_id = world.queue(CAROL)
    copied = world.queue(CAROL)
    os.link(world.spooled(queue_id), world.body(ALICE, 4))
    world.body(ALICE, 5).write_bytes(world.spooled(copied).read_bytes())  # where links cannot be
    loose = world.state_dir / "mail" / "loose" / "x.eml"
    loose.write_bytes(b"x")
    os.link(loose, world.body(ALICE, 6))
    os.link(world.body(ALICE, 1), world.body(ALICE, 7))
    for _ in range(2):
        world.receive("new@x.test", ALICE)
        world.append(ALICE, b"mine")
    assert [message.uid for message in world.seen()] == [*range(1, 8)]
    assert check(world) == []


def test_leftovers_go(world: StoreWorld) -> None:
    """Files of expunged messages, second names, broken-off copies and rebuilds, empty folders; nothing else."""
    before = world.seen()
    folder = world.folder() / "1"
    world.receive(CAROL, ALICE)
    world.append(ALICE, b"gone")
    octets = world.body(ALICE, 5).read_bytes()
    world.expunge(ALICE, 4, 5)
    world.body(ALICE, 5).write_bytes(octets)  # restored by hand
    os.link(world.body(ALICE, 1), world.body(ALICE, 4))
    Sidecar(world.folder()).note([Gone(MailboxId(1), ModSeq(99), [Uid(6)])], list)
    (folder / "0000000003.tmp").touch()
    (folder / "0000000900.tmp").touch()  # the next copy to that name replaces it
    (world.folder() / "index.sqlite3.new").touch()
    (world.folder() / "index.sqlite3.damaged-1").touch()
    (world.folder() / "17").mkdir()
    assert len(check(world)) == 5
    mended, left = repair(world)
    assert (len(mended), left) == (5, [])
    assert world.seen() == before
    assert sorted(os.listdir(folder)) == [  # noqa: PTH208
        "0000000001.eml",
        "0000000002.eml",
        "0000000003.eml",
        "0000000900.tmp",
    ]


def test_what_an_appender_still_has_is_left_to_it(world: StoreWorld) -> None:
    """A delivery that was broken off is nothing wrong: the next one takes the name."""
    queue_id = world.queue(CAROL)
    os.link(world.spooled(queue_id), world.body(ALICE, 4))
    loose = world.state_dir / "mail" / "loose" / "x.eml"
    loose.write_bytes(b"x")
    os.link(loose, world.body(ALICE, 5))
    os.link(world.body(ALICE, 1), world.body(ALICE, 6))
    assert check(world) == []
    world.deliver(queue_id, CAROL, ALICE)
    assert [message.uid for message in world.seen()] == [1, 2, 3, 4]


def test_what_cannot_be_mended_is_named(world: StoreWorld) -> None:
    """Unknown files and folders, a folder that is missing, a damaged database: nothing happens to them."""
    before = world.seen()
    (world.folder() / "1" / "note.txt").touch()
    (world.folder() / "1" / "0000000009.eml").symlink_to("/etc/passwd")
    (world.folder() / "note.txt").touch()
    (world.folder() / "23").mkdir()
    os.link(world.body(ALICE, 1), world.folder() / "23" / "0000000001.eml")
    mended, left = repair(world)
    assert mended == []
    assert [Path(text.split(" ")[0]).name for text in left] == ["0000000009.eml", "note.txt", "23", "note.txt"]
    assert world.seen() == before
    (world.folder() / "1").rename(world.folder() / "1.away")
    assert "the folder of mailbox 1 (INBOX) is missing" in repair(world)[1]
    (world.folder() / "1.away").rename(world.folder() / "1")
    assert world.seen() == before


@pytest.mark.parametrize("uid", [LAST_GIVEN + 1, LAST_UID, LAST_UID + 1])
def test_a_name_beyond_all_uids_is_no_message(world: StoreWorld, uid: int) -> None:
    """A file with such a name is named and left, by a rebuild as well, and mail goes on under the next UIDs."""
    world.body(ALICE, uid).write_bytes(b"stray\r\n")
    assert repair(world) == ([], [f"{world.body(ALICE, uid)} belongs to no message"])
    world.receive(CAROL, ALICE)
    assert [message.uid for message in world.seen()] == [1, 2, 3, 4]
    rebuilt = rebuild(world.state_dir, ALICE, OWNER)
    assert rebuilt.remarks == (f"{world.body(ALICE, uid)} is no message",)
    world.receive(CAROL, ALICE)
    assert [message.uid for message in world.seen()][:4] == [1, 2, 3, 4]
    assert len(world.seen()) == 5


def test_no_uid_is_left(world: StoreWorld) -> None:
    """A message that could not be asked for is not taken: it waits."""
    sql(world, f"UPDATE mailbox SET uid_next = {LAST_GIVEN}")
    world.receive(CAROL, ALICE)
    before = world.seen()
    assert before[-1].uid == LAST_GIVEN
    with pytest.raises(StoreUnusable, match="the next UID"):
        world.receive(CAROL, ALICE)
    assert world.seen() == before
    assert not world.body(ALICE, LAST_GIVEN + 1).exists()


def test_repair_doubles_nothing(world: StoreWorld) -> None:
    """A body that the spool still has may become a message by repair; the spool does not deliver it once more."""
    queue_id = world.queue(CAROL)
    os.link(world.spooled(queue_id), world.body(ALICE, 4))
    world.body(ALICE, 5).write_bytes(b"Subject: from a backup\r\n\r\n")
    assert len(check(world)) == 1
    repair(world)
    before = world.seen()
    assert [message.uid for message in before] == [1, 2, 3, 4, 5]
    world.deliver(queue_id, CAROL, ALICE)
    assert world.seen() == before


def test_repair_broken_off_may_be_made_again(world: StoreWorld) -> None:
    """A body that got its new name, but not its row, becomes one message all the same."""
    before = world.seen()
    sql(world, "DELETE FROM message WHERE uid = 1")
    sql(world, "DELETE FROM content WHERE uid = 1")
    os.link(world.body(ALICE, 1), world.body(ALICE, 4))
    repair(world)
    after = world.seen()
    assert sorted(message.octets for message in after) == sorted(message.octets for message in before)
    assert check(world) == []
