"""The files beside an index."""

import multiprocessing
import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from maillib.embedded import sidecar
from maillib.embedded.sidecar import Flagged, Gone, Issued, ListedMailbox, MailboxList, Note, Sidecar
from maillib.errors import StoreUnusable
from maillib.ports.index import MailboxId, ModSeq, Uid, UidValidity

BOX = MailboxId(1)
SEEN = frozenset({"\\Seen"})
LISTED = MailboxList(
    last_uid_validity=UidValidity(1700000001),
    last_mailbox=MailboxId(3),
    mailboxes=(
        ListedMailbox(id=BOX, name="INBOX", uid_validity=UidValidity(1700000000)),
        ListedMailbox(
            id=MailboxId(3), name="Gesendet/Ä \U0001f4ec", uid_validity=UidValidity(1700000001), special_use="\\Sent"
        ),
    ),
    subscriptions=("INBOX", "no such mailbox"),
)


def nothing() -> Iterable[Note]:
    raise AssertionError("nobody asks for it")


def flagged(modseq: int, *uids: int, flags: frozenset[str] = SEEN) -> Flagged:
    return Flagged(BOX, ModSeq(modseq), [Uid(uid) for uid in uids], flags)


def gone(modseq: int, *uids: int) -> Gone:
    return Gone(BOX, ModSeq(modseq), [Uid(uid) for uid in uids])


def test_mailboxes_come_back(tmp_path: Path) -> None:
    """What was written is read, whatever the names are; before that there is no list."""
    assert Sidecar(tmp_path).read_mailboxes() is None
    Sidecar(tmp_path).write_mailboxes(LISTED)
    assert Sidecar(tmp_path).read_mailboxes() == LISTED
    assert os.listdir(tmp_path) == ["mailboxes.json"]  # noqa: PTH208
    assert (tmp_path / "mailboxes.json").stat().st_mode & 0o027 == 0


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"version": 2}', '{"version": 1}', "[" * 100_000, '{"version": 1, "mailboxes": 3}', "\0" * 10],
)
def test_damaged_list(tmp_path: Path, text: str) -> None:
    """A list that cannot be understood is named, whatever is in it."""
    (tmp_path / "mailboxes.json").write_text(text)
    with pytest.raises(StoreUnusable, match=re.escape("mailboxes.json")):
        Sidecar(tmp_path).read_mailboxes()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"last_uid_validity": 1700000001', '"last_uid_validity": 4294967296'),
        ('"last_mailbox": 3', '"last_mailbox": -1'),
        ('"last_mailbox": 3', f'"last_mailbox": {2**63}'),
        ('"id": 3', '"id": 0'),
        ('"id": 3', f'"id": {2**63}'),
        ('"id": 3', '"id": 1'),
        ('"name": "Gesendet', '"name": "\\ud800'),
        ('"name": "Gesendet/Ä \U0001f4ec"', '"name": "INBOX"'),
        ('"uid_validity": 1700000000', '"uid_validity": 0'),
        ('"no such mailbox"', '"\\udc80"'),
    ],
)
def test_impossible_list(tmp_path: Path, old: str, new: str) -> None:
    """What no index could hold is damage, too."""
    Sidecar(tmp_path).write_mailboxes(LISTED)
    text = (tmp_path / "mailboxes.json").read_text()
    assert old in text
    (tmp_path / "mailboxes.json").write_text(text.replace(old, new))
    with pytest.raises(StoreUnusable, match=re.escape("mailboxes.json")):
        Sidecar(tmp_path).read_mailboxes()


def test_no_link_is_followed(tmp_path: Path) -> None:
    """A name that somebody has put there leads nowhere."""
    other = tmp_path / "other"
    other.write_text("keep")
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("mailboxes.json", "mailboxes.json.tmp", "flags.log", "flags.log.tmp"):
        (folder / name).symlink_to(other)
    files = Sidecar(folder)
    files.note([flagged(1, 1)], nothing)  # logged, not raised
    files.write_mailboxes(LISTED)
    assert files.read_mailboxes() == LISTED
    assert other.read_text() == "keep"


def test_notes_add_up(tmp_path: Path) -> None:
    """Of several notes about a message that with the highest MODSEQ counts, in whatever order they were written."""
    files = Sidecar(tmp_path)
    assert files.read_notes() == {}
    files.note([flagged(5, 1, 2, 3, 9), flagged(5, 4, flags=frozenset())], nothing)
    files.note([flagged(7, 2, flags=frozenset({"$Junk", "\\Flagged"})), gone(8, 3, 20)], nothing)
    files.note([flagged(6, 2, 4)], nothing)
    files.note([Issued(MailboxId(2), ModSeq(1), Uid(77))], nothing)
    notes = files.read_notes()
    found = notes[BOX]
    assert {uid: flags for uid, (_, flags) in found.flags.items()} == {
        1: SEEN,
        2: {"$Junk", "\\Flagged"},
        3: SEEN,
        4: SEEN,
        9: SEEN,
    }
    assert (found.gone, found.uid_next, found.modseq) == ({3, 20}, 21, 8)
    assert notes[MailboxId(2)].uid_next == 77


@pytest.mark.parametrize("cut", range(1, 28))
def test_a_line_cut_short_spoils_no_other(tmp_path: Path, cut: int) -> None:
    """After a power cut the last line may be incomplete; those before and after it count."""
    files = Sidecar(tmp_path)
    log = tmp_path / "flags.log"
    files.note([flagged(1, 1)], nothing)
    whole = log.read_bytes()
    files.note([flagged(2, 2, 3)], nothing)
    log.write_bytes(log.read_bytes()[: len(whole) + cut])
    is_whole = b"2:3 \\Seen" in log.read_bytes()
    files.note([flagged(3, 7)], nothing)
    assert set(files.read_notes()[BOX].flags) == ({1, 2, 3, 7} if is_whole else {1, 7})


def test_damage_in_the_log_is_passed_over(tmp_path: Path) -> None:
    """Blocks of zeros or other text, which a power cut may leave, are no notes."""
    files = Sidecar(tmp_path)
    files.note([flagged(1, 1)], nothing)
    with (tmp_path / "flags.log").open("ab") as file:
        file.write(b"\0" * 4096 + b"\n\xff\xfe nonsense\n00000000 1 2 flags 3\n")
    files.note([flagged(2, 2)], nothing)
    assert set(files.read_notes()[BOX].flags) == {1, 2}


def test_a_large_log_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once large, the log becomes what the index holds, and grows to twice that before it is replaced again."""
    monkeypatch.setattr(sidecar, "COMPACT_OCTETS", 1000)
    files = Sidecar(tmp_path)
    asked = 0

    def everything() -> Iterable[Note]:
        nonlocal asked
        asked += 1
        return [flagged(1000, *range(1, 500, 2)), Issued(BOX, ModSeq(1000), Uid(1001))]

    for number in range(60):
        files.note([flagged(number, 1)], everything)
    assert asked == 1
    found = files.read_notes()[BOX]
    assert (len(found.flags), found.uid_next, found.modseq) == (250, 1001, 1000)


def test_what_could_not_be_noted_is_made_good(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A log that cannot be written stops nobody and is told; the next note brings it up to date."""
    files = Sidecar(tmp_path)
    (tmp_path / "flags.log").mkdir()
    files.note([flagged(1, 1)], nothing)
    assert "flags.log" in capfd.readouterr().err
    (tmp_path / "flags.log").rmdir()
    files.note([flagged(2, 2)], lambda: [flagged(2, 1, 2)])
    assert set(files.read_notes()[BOX].flags) == {1, 2}


def _note_often(folder: Path, first: int) -> None:
    sidecar.COMPACT_OCTETS = 2000
    files = Sidecar(folder)
    shared = folder / "index"

    def everything() -> list[Note]:  # as of now, like a transaction
        return [flagged(1, *sorted(int(line) for line in shared.read_text().split()))]

    for uid in range(first, first + 300):
        fd = os.open(shared, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, f"{uid}\n".encode())
        os.close(fd)
        files.note([flagged(2, uid)], everything)


def test_replacing_loses_no_note_of_another_process(tmp_path: Path) -> None:
    """Four processes that note, and replace the log again and again: nothing is missing."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_note_often, args=(tmp_path, 1000 * number)) for number in range(1, 5)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    wanted = {1000 * number + count for number in range(1, 5) for count in range(300)}
    assert set(Sidecar(tmp_path).read_notes()[BOX].flags) == wanted
