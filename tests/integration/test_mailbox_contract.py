"""The store's contract: mailboxes, flags, changes, copies and hints, as IMAP needs them of every engine.

What deliveries need is in `test_index_contract.py`.
"""

import asyncio
import itertools
from datetime import timedelta

import pytest

from maillib.errors import Conflict, NotFound, OverQuota, PermanentError, TooOld
from maillib.ports.flags import ANSWERED, DELETED, FLAGGED, SEEN, FlagChange
from maillib.ports.index import (
    INBOX,
    Changes,
    MailboxId,
    ModSeq,
    Row,
    Uid,
    Usage,
)
from tests.support.store_engines import ALICE, BOB, WHEN, Keeps, Store, new_message, octets

# Mailboxes


async def names(store: Store) -> list[str]:
    return sorted(box.name for box in await store.index.mailboxes(ALICE))


async def append(store: Store, mailbox: str, *keys: str, **more: object) -> list[Uid]:
    answers = await store.index.append(ALICE, mailbox, [await new_message(store, key, **more) for key in keys])  # type: ignore[arg-type]
    return [answer.uid for answer in answers]


async def modseq_of(store: Store, mailbox: str = INBOX) -> ModSeq:
    return next(box.highest_modseq for box in await store.index.mailboxes(ALICE) if box.name == mailbox)


def test_mailboxes_are_made(keeps: Keeps) -> None:
    """A new mailbox is empty, has a number and a UIDVALIDITY of its own, and takes messages by name and by id."""

    async def promise(store: Store) -> None:
        made = await store.index.create(ALICE, "Sent/2024", special_use="\\Sent")
        (inbox, listed) = await store.index.mailboxes(ALICE)
        assert listed == made
        assert (made.name, made.uid_next, made.messages, made.special_use) == ("Sent/2024", 1, 0, "\\Sent")
        assert made.id != inbox.id
        assert made.uid_validity > inbox.uid_validity
        await append(store, "Sent/2024", "a")
        await store.index.append(ALICE, made.id, [await new_message(store, "b")])
        assert await store.index.rows(ALICE, made.id) == await store.index.rows(ALICE, "Sent/2024")
        assert await store.index.rows(ALICE, INBOX) == []
        assert (await store.index.usage(ALICE)).messages == 2

    keeps(promise)


def test_an_account_is_furnished_once(keeps: Keeps) -> None:
    """The usual mailboxes are made and subscribed to; what is deleted then, or was made before, stays as it is."""
    wanted = {"Sent": "\\Sent", "Trash": "\\Trash"}

    async def promise(store: Store) -> None:
        await store.index.furnish(ALICE, wanted)
        made = await store.index.mailboxes(ALICE)
        assert [(box.name, box.special_use) for box in made] == [(INBOX, None), *wanted.items()]
        assert len({box.uid_validity for box in made}) == 3
        assert await store.index.subscriptions(ALICE) == {INBOX, *wanted}
        for name in wanted:
            await append(store, name, name)
            await store.index.delete(ALICE, name)
        await store.index.furnish(ALICE, wanted)
        assert await names(store) == [INBOX]
        await store.index.create(BOB, "Old")
        await store.index.delete(BOB, "Old")
        await store.index.furnish(BOB, wanted)
        assert [box.name for box in await store.index.mailboxes(BOB)] == [INBOX]

    keeps(promise)


def test_a_taken_name(keeps: Keeps) -> None:
    """A name belongs to one mailbox; INBOX does in any case; the refusal changes nothing."""

    async def promise(store: Store) -> None:
        await store.index.create(ALICE, "a")
        await store.index.create(ALICE, "b")
        before = await store.index.mailboxes(ALICE)
        for name in ("a", "inbox", "INBOX"):
            with pytest.raises(Conflict):
                await store.index.create(ALICE, name)
            with pytest.raises(Conflict):
                await store.index.rename(ALICE, "b", name)
        with pytest.raises(Conflict):
            await store.index.rename(ALICE, "a", "a/x")
        with pytest.raises(Conflict):
            await store.index.delete(ALICE, "Inbox")
        assert await store.index.mailboxes(ALICE) == before
        await append(store, "iNbOx", "k")
        assert len(await store.index.rows(ALICE, INBOX)) == 1

    keeps(promise)


@pytest.mark.parametrize("name", ["", "/", "a/", "/a", "a//b", "a\nb", "a\0", "\ud800", "x" * 1001, "ä" * 501])
def test_what_cannot_be_a_name(keeps: Keeps, name: str) -> None:
    """Such a name is refused for good, wherever one would be kept, and nothing is there that has it."""

    async def promise(store: Store) -> None:
        await store.index.create(ALICE, "a")
        for call in (
            store.index.create(ALICE, name),
            store.index.rename(ALICE, "a", name),
            store.index.subscribe(ALICE, name),
        ):
            with pytest.raises(PermanentError):
                await call
        for other in (store.index.rows(ALICE, name), store.index.delete(ALICE, name)):
            with pytest.raises(NotFound):
                await other
        assert await names(store) == [INBOX, "a"]

    keeps(promise)


def test_rename_takes_what_is_below(keeps: Keeps) -> None:
    """Mailboxes below the renamed one go with it, all with number, UIDVALIDITY and messages; others stay."""

    async def promise(store: Store) -> None:
        for name in ("a", "a/b", "a/b/c", "ab", "z"):
            await store.index.create(ALICE, name)
        await append(store, "a/b", "k")
        before = {box.id: box for box in await store.index.mailboxes(ALICE)}
        await store.index.rename(ALICE, "a", "new/a")
        assert await names(store) == [INBOX, "ab", "new/a", "new/a/b", "new/a/b/c", "z"]
        for box in await store.index.mailboxes(ALICE):
            assert box.uid_validity == before[box.id].uid_validity
        assert len(await store.index.rows(ALICE, "new/a/b")) == 1
        with pytest.raises(NotFound):
            await store.index.rename(ALICE, "a", "c")
        await store.index.create(ALICE, "y/b")
        with pytest.raises(Conflict):  # one of the names is taken: all stay
            await store.index.rename(ALICE, "new/a", "y")
        assert "new/a/b/c" in await names(store)

    keeps(promise)


def test_rename_of_inbox_moves_its_messages(keeps: Keeps) -> None:
    """INBOX stays and is empty; its messages are in a new mailbox; what is below INBOX stays. RFC 9051 §6.3.6."""

    async def promise(store: Store) -> None:
        await store.index.create(ALICE, "INBOX/below")
        await append(store, INBOX, "a", "b", flags=frozenset({SEEN}))
        (inbox, *_) = await store.index.mailboxes(ALICE)
        await store.index.rename(ALICE, "inbox", "old")
        assert await names(store) == [INBOX, "INBOX/below", "old"]
        assert [row.flags for row in await store.index.rows(ALICE, "old")] == [{SEEN}, {SEEN}]
        (after, *_) = await store.index.mailboxes(ALICE)
        assert (after.id, after.uid_validity, after.messages, after.uid_next) == (inbox.id, inbox.uid_validity, 0, 3)

    keeps(promise)


def test_a_deletion_is_remembered(keeps: Keeps) -> None:
    """A deleted mailbox is gone with its messages, what is below it stays; its number never returns, and who makes one
    of that name again gets a larger UIDVALIDITY, though the clock says the same."""

    async def promise(store: Store) -> None:
        seen = []
        for round_ in range(3):
            made = await store.index.create(ALICE, "a")
            await append(store, "a", f"k{round_}")
            body = (await store.index.messages(ALICE, "a", [Uid(1)]))[Uid(1)].body
            seen.append((made.id, made.uid_validity))
            if not round_:
                await store.index.create(ALICE, "a/b")
            await store.index.delete(ALICE, "a")
            with pytest.raises(NotFound):
                await store.index.rows(ALICE, made.id)
            with pytest.raises(NotFound):
                await store.blobs.size(body)
            assert await store.index.usage(ALICE) == Usage(0, 0)
        assert await names(store) == [INBOX, "a/b"]
        for one, two in itertools.pairwise(seen):
            assert one[0] < two[0]
            assert one[1] < two[1]

    keeps(promise)


def test_subscriptions_are_names(keeps: Keeps) -> None:
    """Subscribing is idempotent, needs no mailbox, and outlives renames and deletions. RFC 9051 §6.3.7."""

    async def promise(store: Store) -> None:
        await store.index.create(ALICE, "a")
        for name in ("a", "a", "none", "inbox"):
            await store.index.subscribe(ALICE, name)
        await store.index.rename(ALICE, "a", "b")
        await store.index.delete(ALICE, "b")
        assert set(await store.index.subscriptions(ALICE)) == {"a", "none", INBOX}
        for name in ("a", "a", "never", "INBOX"):
            await store.index.unsubscribe(ALICE, name)
        assert set(await store.index.subscriptions(ALICE)) == {"none"}
        assert set(await store.index.subscriptions(BOB)) == set()

    keeps(promise)


# Flags


def test_flags_are_added_removed_and_replaced(keeps: Keeps) -> None:
    """Each way of changing flags does what it says; one modseq for what a call has changed, none for the rest."""

    async def promise(store: Store) -> None:
        await append(store, INBOX, "a", "b", "c", flags=frozenset({"$Junk"}))
        old = await modseq_of(store)
        seen = await store.index.set_flags(ALICE, INBOX, [Uid(1), Uid(2), Uid(9)], FlagChange.ADD, frozenset({SEEN}))
        assert [row.uid for row in seen.rows] == [1, 2]
        assert {row.modseq for row in seen.rows} == {seen.modseq}
        assert {row.flags for row in seen.rows} == {frozenset({SEEN, "$Junk"})}
        assert old < seen.modseq == await modseq_of(store)
        more = await store.index.set_flags(ALICE, INBOX, range(1, 4), FlagChange.ADD, frozenset({SEEN}))
        assert [row.uid for row in more.rows] == [3]
        gone = await store.index.set_flags(
            ALICE, INBOX, [Uid(3)], FlagChange.REMOVE, frozenset({SEEN, "$Junk", DELETED})
        )
        assert [row.flags for row in gone.rows] == [frozenset()]
        await store.index.set_flags(ALICE, INBOX, [Uid(2)], FlagChange.REPLACE, frozenset({FLAGGED}))
        nothing = await store.index.set_flags(ALICE, INBOX, [Uid(2)], FlagChange.REPLACE, frozenset({FLAGGED}))
        assert (nothing.rows, nothing.modseq) == ([], await modseq_of(store))
        rows = await store.index.rows(ALICE, INBOX)
        assert [row.flags for row in rows] == [{SEEN, "$Junk"}, {FLAGGED}, frozenset()]
        assert rows[0].modseq == seen.modseq

    keeps(promise)


def test_flags_have_no_case(keeps: Keeps) -> None:
    """A system flag has one spelling, a keyword that of its first setting."""

    async def promise(store: Store) -> None:
        await append(store, INBOX, "a", flags=frozenset({"\\SEEN", "$Label1"}))
        same = await store.index.set_flags(ALICE, INBOX, [Uid(1)], FlagChange.ADD, frozenset({"\\seen", "$LABEL1"}))
        assert same.rows == []
        (row,) = await store.index.rows(ALICE, INBOX)
        assert row.flags == {SEEN, "$Label1"}
        await store.index.set_flags(ALICE, INBOX, [Uid(1)], FlagChange.REMOVE, frozenset({"$label1"}))
        (row,) = await store.index.rows(ALICE, INBOX)
        assert row.flags == {SEEN}

    keeps(promise)


def test_what_is_no_flag(keeps: Keeps) -> None:
    """What would be two flags, or no atom, is a bug of the caller and changes nothing."""

    async def promise(store: Store) -> None:
        await append(store, INBOX, "a")
        for flag in ("", "a b", "a\n", "ä"):
            with pytest.raises(ValueError, match="flag"):
                await store.index.set_flags(ALICE, INBOX, [Uid(1)], FlagChange.ADD, frozenset({flag}))
            with pytest.raises(ValueError, match="flag"):
                await append(store, INBOX, "b", flags=frozenset({flag}))
        assert len(await store.index.rows(ALICE, INBOX)) == 1

    keeps(promise)


def test_flags_of_messages_that_somebody_changed_meanwhile(keeps: Keeps) -> None:
    """Only what has not changed since is touched, the others are named. RFC 7162 §3.1.3."""

    async def promise(store: Store) -> None:
        await append(store, INBOX, "a", "b")
        known = await modseq_of(store)
        await store.index.set_flags(ALICE, INBOX, [Uid(1)], FlagChange.ADD, frozenset({SEEN}))
        answer = await store.index.set_flags(
            ALICE, INBOX, [Uid(1), Uid(2)], FlagChange.ADD, frozenset({DELETED}), unchanged_since=known
        )
        assert ([row.uid for row in answer.rows], answer.refused) == ([2], [1])
        refused = await store.index.set_flags(
            ALICE, INBOX, range(1, 3), FlagChange.REPLACE, frozenset(), unchanged_since=ModSeq(0)
        )
        assert (refused.rows, refused.refused, refused.modseq) == ([], [1, 2], answer.modseq)

    keeps(promise)


def test_counters_of_flags(keeps: Keeps) -> None:
    """What is unseen and what is deleted is counted, whatever changes it."""

    async def promise(store: Store) -> None:
        async def counted(mailbox: str = INBOX) -> tuple[int, int, int]:
            (box,) = [box for box in await store.index.mailboxes(ALICE) if box.name == mailbox]
            return box.messages, box.unseen, box.deleted

        await store.index.create(ALICE, "other")
        await append(store, INBOX, "a", "b")
        await append(store, INBOX, "c", flags=frozenset({SEEN, DELETED}))
        assert await counted() == (3, 2, 1)
        await store.index.set_flags(ALICE, INBOX, range(1, 3), FlagChange.ADD, frozenset({SEEN, DELETED, ANSWERED}))
        assert await counted() == (3, 0, 3)
        await store.index.set_flags(ALICE, INBOX, [Uid(1)], FlagChange.REPLACE, frozenset())
        assert await counted() == (3, 1, 2)
        await store.index.copy(ALICE, INBOX, [Uid(1), Uid(2)], "other")
        await store.index.move(ALICE, INBOX, [Uid(3)], "other")
        assert await counted("other") == (3, 1, 2)
        assert await counted() == (2, 1, 1)
        await store.index.expunge(ALICE, INBOX, [Uid(1), Uid(2)])
        assert await counted() == (0, 0, 0)

    keeps(promise)


def test_expunge_of_what_is_marked(keeps: Keeps) -> None:
    """EXPUNGE removes what has \\Deleted at that moment, not what had it when somebody looked."""

    async def promise(store: Store) -> None:
        await append(store, INBOX, "a", "b", "c", flags=frozenset({DELETED}))
        await store.index.set_flags(ALICE, INBOX, [Uid(2)], FlagChange.REMOVE, frozenset({DELETED}))
        expunged = await store.index.expunge(ALICE, INBOX, range(1, 3), only_deleted=True)
        assert expunged.uids == [1]
        assert expunged.modseq == await modseq_of(store)
        assert [row.uid for row in await store.index.rows(ALICE, INBOX)] == [2, 3]
        nothing = await store.index.expunge(ALICE, INBOX, [Uid(2)], only_deleted=True)
        assert (nothing.uids, nothing.modseq) == ([], expunged.modseq)

    keeps(promise)


# Reading


def test_rows_of_some_messages(keeps: Keeps) -> None:
    """A set, a range and a limit choose rows; the order is always that of the UIDs."""

    async def promise(store: Store) -> None:
        await append(store, INBOX, *"abcdef")
        await store.index.expunge(ALICE, INBOX, [Uid(3)])

        async def uids(*what: object, **more: int) -> list[int]:
            return [row.uid for row in await store.index.rows(ALICE, INBOX, *what, **more)]  # type: ignore[arg-type]

        assert await uids() == [1, 2, 4, 5, 6]
        assert await uids([5, 1, 3, 99, 1]) == [1, 5]
        assert await uids([]) == []
        assert await uids({4}) == [4]
        assert await uids(range(2, 5)) == [2, 4]
        assert await uids(range(4, 2**32)) == [4, 5, 6]
        assert await uids(limit=2) == [1, 2]
        assert await uids(range(3, 2**32), limit=2) == [4, 5]
        assert await uids(range(5, 5)) == []

    keeps(promise)


# Changes


def test_changes_since(keeps: Keeps) -> None:
    """New messages, other flags and expunged UIDs since a modseq, from one snapshot; nothing twice."""

    async def promise(store: Store) -> None:
        await append(store, INBOX, "a", "b", "c", "d")
        start = await modseq_of(store)
        assert await store.index.changes(ALICE, INBOX, start, limit=100) == Changes(start, [], [], complete=True)
        await store.index.set_flags(ALICE, INBOX, [Uid(2)], FlagChange.ADD, frozenset({SEEN}))
        await store.index.expunge(ALICE, INBOX, [Uid(1), Uid(3)])
        await append(store, INBOX, "e")
        found = await store.index.changes(ALICE, INBOX, start, limit=100)
        assert ([row.uid for row in found.rows], found.vanished) == ([2, 5], [1, 3])
        assert (found.modseq, found.complete) == (await modseq_of(store), True)
        everything = await store.index.changes(ALICE, INBOX, ModSeq(0), limit=100)
        assert [row.uid for row in everything.rows] == [2, 4, 5]

    keeps(promise)


def test_changes_come_in_pages(keeps: Keeps) -> None:
    """A page has about as many as were asked for, and who asks on from it misses nothing; one call's changes are never
    divided."""

    async def promise(store: Store) -> None:
        for key in "abcdef":
            await append(store, INBOX, key)
        await store.index.set_flags(ALICE, INBOX, range(1, 5), FlagChange.ADD, frozenset({SEEN}))
        await store.index.expunge(ALICE, INBOX, [Uid(6)])
        seen: list[list[int]] = []
        since, complete = ModSeq(1), False
        while not complete:
            page = await store.index.changes(ALICE, INBOX, since, limit=2)
            assert page.modseq > since
            seen.append([*(row.uid for row in page.rows), *page.vanished])
            since, complete = page.modseq, page.complete
        assert seen == [[1, 2, 3, 4, 5], [6]]
        assert since == await modseq_of(store)

    keeps(promise)


def test_forgotten_changes(keeps: Keeps) -> None:
    """Of many expunged UIDs the last ones are remembered; who asks from before that is told so."""

    async def promise(store: Store) -> None:
        start = await modseq_of(store)
        for number in range(15):
            (uid,) = await append(store, INBOX, f"k{number}")
            await store.index.expunge(ALICE, INBOX, [uid])
        with pytest.raises(TooOld):
            await store.index.changes(ALICE, INBOX, start, limit=100)
        late = ModSeq(await modseq_of(store) - 18)
        found = await store.index.changes(ALICE, INBOX, late, limit=100)
        assert found.vanished == list(range(7, 16))

    keeps(promise)


def test_changes_are_those_of_the_mailbox_that_was_opened(keeps: Keeps) -> None:
    """Who has a mailbox open by its id sees it through a rename, and never another one of its name."""

    async def promise(store: Store) -> None:
        made = await store.index.create(ALICE, "a")
        await append(store, "a", "k")
        await store.index.rename(ALICE, "a", "b")
        assert len((await store.index.changes(ALICE, made.id, ModSeq(1), limit=9)).rows) == 1
        await store.index.delete(ALICE, "b")
        await store.index.create(ALICE, "b")
        with pytest.raises(NotFound):
            await store.index.changes(ALICE, made.id, ModSeq(1), limit=9)
        with pytest.raises(NotFound):
            await store.index.rows(ALICE, MailboxId(10**12))

    keeps(promise)


# Copy and move


async def described(store: Store, mailbox: str) -> list[tuple[Uid, bytes, Row]]:
    rows = await store.index.rows(ALICE, mailbox)
    found = await store.index.messages(ALICE, mailbox, [row.uid for row in rows])
    return [(row.uid, await octets(store, found[row.uid]), row) for row in rows]


def test_copy_keeps_everything(keeps: Keeps) -> None:
    """A copy has octets, flags and date of its source, which stays; the answer maps the UIDs. RFC 4315 §3."""

    async def promise(store: Store) -> None:
        box = await store.index.create(ALICE, "a")
        await append(store, "a", "first")
        await append(store, INBOX, "x", flags=frozenset({SEEN, "$Label1"}), prefix=b"P: 1\r\n")
        await append(store, INBOX, "y", internal_date=WHEN + timedelta(days=1))
        before = await described(store, INBOX)
        copied = await store.index.copy(ALICE, INBOX, [Uid(2), Uid(1), Uid(7)], "a")
        assert (copied.uid_validity, list(copied.uids.items())) == (box.uid_validity, [(1, 2), (2, 3)])
        assert await described(store, INBOX) == before
        copies = (await described(store, "a"))[1:]
        for (_, text, row), (_, copy_text, copy_row) in zip(before, copies, strict=True):
            assert text == copy_text
            assert row[2:] == copy_row[2:]
        assert (await store.index.usage(ALICE)).messages == 5
        await store.index.expunge(ALICE, INBOX, range(1, 9))
        assert [text for _, text, _ in (await described(store, "a"))[1:]] == [text for _, text, _ in before]
        nothing = await store.index.copy(ALICE, INBOX, [Uid(1)], "a")
        assert nothing.uids == {}
        with pytest.raises(NotFound):
            await store.index.copy(ALICE, INBOX, [Uid(1)], "nowhere")

    keeps(promise)


def test_copy_counts_against_the_quota(keeps: Keeps) -> None:
    """A copy that has no room adds nothing; a move needs none."""

    async def promise(store: Store) -> None:
        store.quotas[ALICE] = 100
        await store.index.create(ALICE, "a")
        await store.index.append(ALICE, INBOX, [await new_message(store, "k", b"x" * 60, prefix=b"")])
        with pytest.raises(OverQuota):
            await store.index.copy(ALICE, INBOX, [Uid(1)], "a")
        assert await store.index.rows(ALICE, "a") == []
        await store.index.move(ALICE, INBOX, [Uid(1)], "a")
        assert await store.index.usage(ALICE) == Usage(1, 60)

    keeps(promise)


def test_move_is_one_step(keeps: Keeps) -> None:
    """What was moved is in one mailbox and vanished from the other; within one mailbox it has a new UID. RFC 6851."""

    async def promise(store: Store) -> None:
        box = await store.index.create(ALICE, "a")
        await append(store, INBOX, "x", "y", "z", flags=frozenset({FLAGGED}))
        since = await modseq_of(store)
        moved = await store.index.move(ALICE, INBOX, range(2, 4), box.id)
        assert (moved.uid_validity, dict(moved.uids)) == (box.uid_validity, {2: 1, 3: 2})
        assert (await store.index.changes(ALICE, INBOX, since, limit=9)).vanished == [2, 3]
        assert [row.flags for row in await store.index.rows(ALICE, "a")] == [{FLAGGED}] * 2
        again = await store.index.move(ALICE, INBOX, [Uid(1)], INBOX)
        assert dict(again.uids) == {1: 4}
        assert [row.uid for row in await store.index.rows(ALICE, INBOX)] == [4]
        assert (await store.index.usage(ALICE)).messages == 3

    keeps(promise)


# Hints


def test_changes_are_told_to_who_watches(keeps: Keeps) -> None:
    """Each kind of change is told with mailbox and modseq, several as one; those of other accounts are not."""

    async def promise(store: Store) -> None:
        box = await store.index.create(ALICE, "a")
        (inbox, *_) = await store.index.mailboxes(ALICE)
        with store.hints.watch([ALICE]) as watch:
            await store.index.append(BOB, INBOX, [await new_message(store, "b")])
            await append(store, INBOX, "k")
            await store.index.set_flags(ALICE, INBOX, [Uid(1)], FlagChange.ADD, frozenset({SEEN}))
            wanted = await modseq_of(store)
            seen = ModSeq(0)
            while seen < wanted:
                account, mailbox, seen = await anext(watch)
                assert (account, mailbox) == (ALICE, inbox.id)
            await store.index.move(ALICE, INBOX, [Uid(1)], "a")
            hints = {(await anext(watch)).mailbox for _ in range(2)}
            assert hints == {inbox.id, box.id}
            await store.index.expunge(ALICE, "a", [Uid(1)])
            assert (await anext(watch)).mailbox == box.id

    keeps(promise)


def test_a_watch_ends(keeps: Keeps) -> None:
    """Who waits for hints is let go when its watch is closed, and is told nothing more."""

    async def promise(store: Store) -> None:
        watch = store.hints.watch([ALICE, BOB])
        waiting = asyncio.create_task(anext(watch, None))
        await asyncio.sleep(0)
        watch.close()
        watch.close()
        assert await waiting is None
        await append(store, INBOX, "k")
        assert [hint async for hint in watch] == []

    keeps(promise)
