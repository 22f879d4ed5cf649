"""An index made anew from bodies, their names, and the files beside it."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from maillib.embedded import rebuild as module
from maillib.embedded.rebuild import UID_MARGIN, rebuild
from maillib.embedded.sidecar import Flagged, Gone, ListedMailbox, MailboxList, Sidecar
from maillib.errors import StoreDamaged
from maillib.message.received import received_from_here
from maillib.ports.index import INBOX, MailboxId, ModSeq, Uid, UidValidity
from tests.support.store_world import ADDRESSES, ALICE, BOB, WHEN, StoreWorld

SENDERS = ["carol@elsewhere.test", "", "jürgen@example.test", '"a)b (c"@x.test']
ADDRESS = ADDRESSES[ALICE]


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    return StoreWorld(tmp_path)


def test_everything_comes_back(world: StoreWorld) -> None:
    """UIDs, dates, sizes and octets are as they were, whoever sent the messages and however they came."""
    for number, sender in enumerate(SENDERS):
        world.receive(sender, ALICE, BOB, when=WHEN + timedelta(days=number))
    world.append(ALICE, b"Subject: mine\r\n\r\nx", when=WHEN - timedelta(days=5000))
    with_trace = world.queue("eve@x.test")
    world.append(ALICE, world.spooled(with_trace).read_bytes())  # begins with a field of ours, and has no prefix
    world.append(ALICE, b"")
    world.expunge(ALICE, 2)
    before, of_bob = world.seen(), world.seen(BOB)
    told: list[int] = []
    for name in ("index.sqlite3.damaged-1", None):
        made = rebuild(world.state_dir, ALICE, ADDRESS, tell=told.append)
        assert (made.messages, made.octets) == (6, sum(message.size_octets for message in before))
        assert made.aside == name
        assert world.seen() == before
        world.lose()
    assert world.seen(BOB) == of_bob


def test_a_notification_of_ours_comes_back(world: StoreWorld) -> None:
    """What this host wrote itself has the null reverse-path, and is known by its queue ID."""
    queue_id = "Q99B1"
    octets = received_from_here(hostname="mail.example.test", queue_id=queue_id, when=WHEN)
    world.spooled(queue_id).write_bytes(octets + b"Subject: x\r\n\r\n")
    os.utime(world.spooled(queue_id), (WHEN.timestamp(), WHEN.timestamp()))
    world.deliver(queue_id, "", ALICE)
    before = world.seen()
    world.lose()
    rebuild(world.state_dir, ALICE, ADDRESS)
    world.deliver(queue_id, "", ALICE)
    assert world.seen() == before


@pytest.mark.parametrize("committed", [True, False])
def test_nothing_is_doubled(world: StoreWorld, committed: bool) -> None:
    """A message that the spool still has, and that has a body here, is delivered already, committed or not."""
    queue_id = world.queue("carol@elsewhere.test")
    if committed:
        world.deliver(queue_id, "carol@elsewhere.test", ALICE)
    else:
        world.receive("first@x.test", ALICE)
        os.link(world.spooled(queue_id), world.body(ALICE, 2))
    world.lose()
    rebuild(world.state_dir, ALICE, ADDRESS)
    before = world.seen()
    assert len(before) == (1 if committed else 2)
    world.deliver(queue_id, "carol@elsewhere.test", ALICE)
    assert world.seen() == before


def test_no_uid_is_given_out_twice(world: StoreWorld) -> None:
    """New messages have UIDs above all that were seen before, expunged ones and those that only the log knew too."""
    for _ in range(3):
        world.receive("carol@elsewhere.test", ALICE)
    world.expunge(ALICE, 3)
    Sidecar(world.folder()).note([Gone(MailboxId(1), ModSeq(5), [Uid(70)])], list)
    before = world.modseq()
    for count in (1, 2):
        world.lose()
        rebuild(world.state_dir, ALICE, ADDRESS)
        assert world.modseq() > before
        before = world.modseq()
        world.receive("carol@elsewhere.test", ALICE)
        assert [message.uid for message in world.seen()][-1] >= 71 + count * UID_MARGIN


def test_flags_and_mailboxes_come_back(world: StoreWorld) -> None:
    """Names, UIDVALIDITY and flags are those that were written down; the log is as short as it can be."""
    for _ in range(3):
        world.receive("carol@elsewhere.test", ALICE)
    with world.index() as accounts, accounts.use(ALICE) as index:
        (inbox,) = index.mailboxes()
    listed = MailboxList(
        last_uid_validity=UidValidity(inbox.uid_validity + 7),
        last_mailbox=MailboxId(9),
        mailboxes=(
            ListedMailbox(id=inbox.id, name=INBOX, uid_validity=inbox.uid_validity),
            ListedMailbox(id=MailboxId(4), name="Archive/2026", uid_validity=UidValidity(77)),
        ),
        subscriptions=("Archive/2026",),
    )
    files = Sidecar(world.folder())
    files.write_mailboxes(listed)
    seen = frozenset({"\\Seen", "$Junk"})
    files.note([Flagged(inbox.id, ModSeq(9), [Uid(1), Uid(3)], seen)], list)
    world.lose()
    assert rebuild(world.state_dir, ALICE, ADDRESS).remarks == ()
    assert [message.flags for message in world.seen()] == [seen, frozenset(), seen]
    assert files.read_mailboxes() == listed
    with world.index() as accounts, accounts.use(ALICE) as index:
        assert [(box.id, box.name, box.uid_validity) for box in index.mailboxes()] == [
            (inbox.id, INBOX, inbox.uid_validity),
            (4, "Archive/2026", 77),
        ]
    noted = files.read_notes()[inbox.id]
    assert (noted.uid_next, {uid: flags for uid, (_, flags) in noted.flags.items()}) == (
        4 + UID_MARGIN,
        {1: seen, 3: seen},
    )


def test_without_a_list_mailboxes_get_names(world: StoreWorld) -> None:
    """The first mailbox is INBOX, others get a name from their number; each gets a new UIDVALIDITY, and is told."""
    world.receive("carol@elsewhere.test", ALICE)
    other = world.folder() / "12"
    other.mkdir()
    os.link(world.body(ALICE, 1), other / "0000000005.eml")
    (world.folder() / "mailboxes.json").write_text("{")
    world.lose()
    remarks = rebuild(world.state_dir, ALICE, ADDRESS).remarks
    assert [remark.partition(" ")[0] for remark in remarks[1:]] == ["mailbox", "mailbox"]
    assert "mailboxes.json is damaged" in remarks[0]
    with world.index() as accounts, accounts.use(ALICE) as index:
        boxes = index.mailboxes()
    assert [(box.id, box.name, box.messages) for box in boxes] == [(1, INBOX, 1), (12, "Recovered-12", 1)]
    assert boxes[0].uid_validity < boxes[1].uid_validity
    assert [message.uid for message in world.seen(mailbox="Recovered-12")] == [5]


def test_an_expunged_message_stays_away(world: StoreWorld) -> None:
    """A file whose message was expunged, and whose process died before removing it, is no message again."""
    for _ in range(2):
        world.receive("carol@elsewhere.test", ALICE)
    Sidecar(world.folder()).note([Gone(MailboxId(1), ModSeq(5), [Uid(1)])], list)
    world.lose()
    rebuild(world.state_dir, ALICE, ADDRESS)
    assert [message.uid for message in world.seen()] == [2]
    assert not world.body(ALICE, 1).exists()


def test_a_deleted_mailbox_stays_away(world: StoreWorld) -> None:
    """A folder that a deletion has not removed yet goes, unless there is mail in it that nobody removed."""
    world.receive("carol@elsewhere.test", ALICE)
    with world.index() as accounts, accounts.use(ALICE) as index:
        boxes = [index.create(name, None) for name in ("empty", "half", "last")]
        index.copy(INBOX, [Uid(1)], "empty", owner=ADDRESS, quota_octets=None)
        for box in boxes[:2]:
            index.delete(box.name)
    for box in boxes[:2]:
        (world.folder() / str(box.id)).mkdir()
        os.link(world.body(ALICE, 1), world.body(ALICE, 1, box.id))
    world.lose()
    (remark,) = rebuild(world.state_dir, ALICE, ADDRESS).remarks
    assert f"it is called Recovered-{boxes[1].id} now" in remark
    with world.index() as accounts, accounts.use(ALICE) as index:
        assert [box.name for box in index.mailboxes()] == [INBOX, f"Recovered-{boxes[1].id}", "last"]
    assert not (world.folder() / str(boxes[0].id)).exists()


def test_what_is_no_message_is_told(world: StoreWorld) -> None:
    """Links, folders and other names are left alone and named; nothing outside is read."""
    world.receive("carol@elsewhere.test", ALICE)
    folder = world.folder() / "1"
    secret = world.state_dir / "secret"
    secret.write_text("secret")
    (folder / "0000000002.eml").symlink_to(secret)
    (folder / "0000000003.eml").mkdir()
    os.mkfifo(folder / "0000000004.eml")
    (folder / "note.txt").touch()
    (folder / "0000000005.tmp").touch()
    (folder / "9999999999.eml").touch()
    (world.folder() / "7").symlink_to(world.state_dir)
    world.lose()
    made = rebuild(world.state_dir, ALICE, ADDRESS)
    assert made.messages == 1
    assert [remark.split("/")[-1] for remark in made.remarks] == [
        f"{name} is no message"
        for name in ("0000000002.eml", "0000000003.eml", "0000000004.eml", "9999999999.eml", "note.txt")
    ]


class Killed(BaseException):
    """As if the process had ended there."""


@pytest.mark.parametrize("step", range(6))
def test_broken_off_anywhere_it_can_be_begun_again(
    world: StoreWorld, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the new index has the name, the account is lost or as it was, never half; the next rebuild ends it."""
    world.receive("carol@elsewhere.test", ALICE)
    before = world.seen()
    left = step
    rename = Path.rename

    def die_later(path: Path, target: Path) -> Path:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        return rename(path, target)

    with world.index() as accounts:
        with accounts.use(ALICE):  # and keep it open, so that there are -wal and -shm, too
            pass
        monkeypatch.setattr(Path, "rename", die_later)
        with pytest.raises(Killed):
            module.rebuild(world.state_dir, ALICE, ADDRESS)
        monkeypatch.undo()
    try:
        assert world.seen() == before
    except StoreDamaged:
        pass
    assert rebuild(world.state_dir, ALICE, ADDRESS).messages == 1
    assert world.seen() == before
