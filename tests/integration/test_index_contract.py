"""The store's contract: what `maillib.ports` says of the Index, held against every engine.

The same promises over several real processes and SIGKILLs are in `test_store_processes.py`: only an engine on disk has
other processes.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from maillib.errors import NotFound, OverQuota
from maillib.ports.directory import AccountId
from maillib.ports.index import (
    INBOX,
    Appended,
    NewMessage,
    StoredMessage,
    Uid,
    Usage,
)
from tests.support.store_engines import ALICE, BOB, WHEN, Keeps, Store, new_message, octets


async def stored_as(store: Store, uid: Uid, account: AccountId = ALICE) -> StoredMessage:
    return (await store.index.messages(account, INBOX, [uid]))[uid]


# Index: mailboxes


def test_inbox_is_there_from_the_start(keeps: Keeps) -> None:
    """Every account has an INBOX, empty, before anything was delivered."""

    async def promise(store: Store) -> None:
        (inbox,) = await store.index.mailboxes(ALICE)
        assert (inbox.name, inbox.uid_next, inbox.messages, inbox.octets) == (INBOX, 1, 0, 0)
        assert 0 < inbox.uid_validity < 2**32
        assert await store.index.rows(ALICE, INBOX) == []
        assert await store.index.usage(ALICE) == Usage(0, 0)

    keeps(promise)


@pytest.mark.parametrize("name", ["", "..", "../../x", "/etc/passwd", "inbox\0", "1", "'; DROP TABLE mailbox; --"])
def test_a_name_is_only_data(keeps: Keeps, tmp_path: Path, name: str) -> None:
    """A mailbox that does not exist is NotFound in every call, whatever its name looks like, and makes no file."""

    async def promise(store: Store) -> None:
        message = await new_message(store, "k")
        await store.index.usage(ALICE)
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(NotFound):
            await store.index.append(ALICE, name, [message])
        with pytest.raises(NotFound):
            await store.index.rows(ALICE, name)
        with pytest.raises(NotFound):
            await store.index.messages(ALICE, name, [Uid(1)])
        with pytest.raises(NotFound):
            await store.index.expunge(ALICE, name, [Uid(1)])
        assert sorted(tmp_path.rglob("*")) == before

    keeps(promise)


# Index: append


def test_append_stores_prefix_and_body(keeps: Keeps) -> None:
    """A message comes back octet for octet, with its size, date and flags."""

    async def promise(store: Store) -> None:
        body = bytes(range(256)) * 300 + b"\r\n.\r\n"
        local = timedelta(microseconds=123456)
        message = await new_message(store, "k", body, internal_date=WHEN + local, flags=frozenset({"\\Seen", "$Junk"}))
        (answer,) = await store.index.append(ALICE, INBOX, [message])
        (row,) = await store.index.rows(ALICE, INBOX)
        assert answer == Appended(row.uid, row.modseq, created=True)
        assert row.size_octets == len(message.prefix) + len(body)
        assert row.internal_date == WHEN
        assert row.flags == {"\\Seen", "$Junk"}
        stored = await stored_as(store, row.uid)
        assert await octets(store, stored) == message.prefix + body
        assert stored.size_octets == row.size_octets

    keeps(promise)


def test_empty_body_and_empty_prefix(keeps: Keeps) -> None:
    """No octets at all is a message too."""

    async def promise(store: Store) -> None:
        (answer,) = await store.index.append(ALICE, INBOX, [await new_message(store, "k", b"", prefix=b"")])
        stored = await stored_as(store, answer.uid)
        assert (await octets(store, stored), stored.size_octets) == (b"", 0)

    keeps(promise)


def test_one_body_for_several_accounts(keeps: Keeps) -> None:
    """The body of a message outlives its other copies and the reference it was appended with."""

    async def promise(store: Store) -> None:
        message = await new_message(store, "k", b"shared")
        for account in (ALICE, BOB):
            await store.index.append(account, INBOX, [message])
        await store.blobs.delete(message.body)
        await store.index.expunge(ALICE, INBOX, [Uid(1)])
        assert await octets(store, await stored_as(store, Uid(1), BOB)) == message.prefix + b"shared"

    keeps(promise)


def test_the_same_key_gives_the_first_answer_again(keeps: Keeps) -> None:
    """A delivery that is repeated adds nothing, within one call and over several."""

    async def promise(store: Store) -> None:
        first, second = await new_message(store, "a", b"first"), await new_message(store, "b")
        other = await new_message(store, "a", b"not this one")
        answers = await store.index.append(ALICE, INBOX, [first, second, other])
        assert await octets(store, await stored_as(store, Uid(1))) == first.prefix + b"first"
        assert [answer.created for answer in answers] == [True, True, False]
        assert answers[0].uid == answers[2].uid < answers[1].uid
        again = await store.index.append(ALICE, INBOX, [second, await new_message(store, "c"), first])
        assert [(answer.uid, answer.created) for answer in again] == [(2, False), (3, True), (1, False)]
        assert again[0].modseq == answers[1].modseq
        assert await store.index.usage(ALICE) == Usage(
            3, sum(r.size_octets for r in await store.index.rows(ALICE, INBOX))
        )

    keeps(promise)


def test_the_key_outlives_message_and_body(keeps: Keeps) -> None:
    """A delivery repeated after an expunge, its body long gone, adds nothing and is no error."""

    async def promise(store: Store) -> None:
        message = await new_message(store, "k")
        (first,) = await store.index.append(ALICE, INBOX, [message])
        await store.index.expunge(ALICE, INBOX, [first.uid])
        await store.blobs.delete(message.body)
        assert await store.index.append(ALICE, INBOX, [message]) == [Appended(first.uid, first.modseq, created=False)]
        assert await store.index.rows(ALICE, INBOX) == []

    keeps(promise)


def test_keys_are_per_account(keeps: Keeps) -> None:
    """What one account has got says nothing about another."""

    async def promise(store: Store) -> None:
        message = await new_message(store, "k")
        for account in (ALICE, BOB):
            (answer,) = await store.index.append(account, INBOX, [message])
            assert answer.created

    keeps(promise)


def test_append_is_all_or_nothing(keeps: Keeps) -> None:
    """One message that cannot be added keeps the others out, uses up no UID, and the call can be repeated."""

    async def promise(store: Store) -> None:
        good, bad = await new_message(store, "good"), await new_message(store, "bad")
        await store.blobs.delete(bad.body)
        with pytest.raises(NotFound):
            await store.index.append(ALICE, INBOX, [good, bad])
        assert await store.index.rows(ALICE, INBOX) == []
        assert await store.index.usage(ALICE) == Usage(0, 0)
        (answer,) = await store.index.append(ALICE, INBOX, [good])
        assert (answer.uid, answer.created) == (1, True)

    keeps(promise)


def test_nothing_to_append(keeps: Keeps) -> None:
    """No messages: no change."""

    async def promise(store: Store) -> None:
        before = await store.index.mailboxes(ALICE)
        assert await store.index.append(ALICE, INBOX, []) == []
        assert await store.index.mailboxes(ALICE) == before

    keeps(promise)


def test_uids_grow_with_simultaneous_appends(keeps: Keeps) -> None:
    """Appends at the same moment each get UIDs of their own; counters and rows agree."""

    async def promise(store: Store) -> None:
        messages = [await new_message(store, f"k{number}", b"x" * number) for number in range(40)]
        pairs = [messages[at : at + 2] for at in range(0, 40, 2)]
        answers = await asyncio.gather(*(store.index.append(ALICE, INBOX, pair) for pair in pairs))
        uids = [answer.uid for pair in answers for answer in pair]
        assert sorted(uids) == list(range(1, 41))
        assert all(first + 1 == second for first, second in zip(uids[::2], uids[1::2], strict=True))
        rows = await store.index.rows(ALICE, INBOX)
        assert [row.uid for row in rows] == sorted(uids)
        (inbox,) = await store.index.mailboxes(ALICE)
        assert (inbox.uid_next, inbox.messages) == (41, 40)
        assert inbox.octets == sum(row.size_octets for row in rows)
        assert inbox.highest_modseq == max(row.modseq for row in rows)

    keeps(promise)


def test_modseq_grows_with_every_change(keeps: Keeps) -> None:
    """Append and expunge raise the mailbox's modseq; a call that changes nothing does not."""

    async def promise(store: Store) -> None:
        async def modseq() -> int:
            return (await store.index.mailboxes(ALICE))[0].highest_modseq

        start = await modseq()
        message = await new_message(store, "k")
        (answer,) = await store.index.append(ALICE, INBOX, [message])
        assert start < answer.modseq == await modseq()
        await store.index.append(ALICE, INBOX, [message])
        await store.index.expunge(ALICE, INBOX, [Uid(99)])
        assert await modseq() == answer.modseq
        await store.index.expunge(ALICE, INBOX, [answer.uid])
        assert await modseq() > answer.modseq

    keeps(promise)


# Index: quota


def test_quota_refuses_whole_and_adds_nothing(keeps: Keeps) -> None:
    """Over quota: the error says whose, how much and the limit; nothing was added; with room it works."""

    async def promise(store: Store) -> None:
        store.quotas[ALICE] = 100
        first, second = [await new_message(store, key, b"x" * 60, prefix=b"") for key in ("a", "b")]
        await store.index.append(ALICE, INBOX, [first])
        with pytest.raises(OverQuota) as caught:
            await store.index.append(ALICE, INBOX, [second])
        assert (caught.value.owner, caught.value.used_octets, caught.value.limit_octets) == (
            "user1@example.test",
            60,
            100,
        )
        assert await store.index.usage(ALICE) == Usage(1, 60)
        with pytest.raises(OverQuota):
            await store.index.append(ALICE, INBOX, [first, second])
        (known,) = await store.index.append(ALICE, INBOX, [first])
        assert not known.created
        await store.index.expunge(ALICE, INBOX, [Uid(1)])
        (answer,) = await store.index.append(ALICE, INBOX, [second])
        assert (answer.uid, answer.created) == (2, True)

    keeps(promise)


def test_quota_is_exact(keeps: Keeps) -> None:
    """The last octet of a quota can be used, prefix counted, and not one more."""

    async def promise(store: Store) -> None:
        store.quotas[ALICE] = 100
        await store.index.append(ALICE, INBOX, [await new_message(store, "a", b"x" * 90, prefix=b"y" * 10)])
        with pytest.raises(OverQuota):
            await store.index.append(ALICE, INBOX, [await new_message(store, "b", b"", prefix=b"z")])

    keeps(promise)


# Index: rows and expunge


def test_rows_are_one_snapshot(keeps: Keeps) -> None:
    """A listing taken before a change stays as it was."""

    async def promise(store: Store) -> None:
        await store.index.append(ALICE, INBOX, [await new_message(store, key) for key in "abc"])
        before = await store.index.rows(ALICE, INBOX)
        await store.index.expunge(ALICE, INBOX, [Uid(2)])
        await store.index.append(ALICE, INBOX, [await new_message(store, "d")])
        assert [row.uid for row in before] == [1, 2, 3]
        assert [row.uid for row in await store.index.rows(ALICE, INBOX)] == [1, 3, 4]

    keeps(promise)


def test_a_listing_never_sees_half_of_an_append(keeps: Keeps) -> None:
    """Messages of one call become visible together, in UID order, while others append and expunge."""

    async def promise(store: Store) -> None:
        async def deliver(writer: int) -> None:
            for number in range(10):
                pair = [await new_message(store, f"{writer}-{number}-{half}", b"x") for half in range(2)]
                await store.index.append(ALICE, INBOX, pair)

        async def watch() -> None:
            last: list[Uid] = []
            while len(last) < 80:
                uids = [row.uid for row in await store.index.rows(ALICE, INBOX)]
                assert uids == list(range(1, len(uids) + 1))
                assert len(uids) % 2 == 0
                assert len(uids) >= len(last)
                last = uids
                await asyncio.sleep(0)  # an engine in memory never waits by itself

        await asyncio.gather(watch(), *(deliver(writer) for writer in range(4)))

    keeps(promise)


def test_sizes_are_columns_of_the_rows(keeps: Keeps) -> None:
    """UIDs and sizes from any UID on, in order, with the mailbox's counters of the same snapshot."""

    async def promise(store: Store) -> None:
        assert list((await store.index.sizes(ALICE, INBOX)).uids) == []
        for key, body in (("a", b"x"), ("b", b"xx"), ("c", b"xxx")):
            await store.index.append(ALICE, INBOX, [await new_message(store, key, body, prefix=b"")])
        await store.index.expunge(ALICE, INBOX, [Uid(2)])
        whole = await store.index.sizes(ALICE, INBOX)
        assert (list(whole.uids), list(whole.octets)) == ([1, 3], [1, 3])
        assert whole.mailbox == (await store.index.mailboxes(ALICE))[0]
        assert (whole.mailbox.messages, whole.mailbox.octets, whole.mailbox.uid_next) == (2, 4, 4)
        tail = await store.index.sizes(ALICE, INBOX, Uid(2))
        assert (list(tail.uids), list(tail.octets), tail.mailbox) == ([3], [3], whole.mailbox)
        with pytest.raises(NotFound):
            await store.index.sizes(ALICE, "elsewhere")

    keeps(promise)


def test_several_messages_at_once(keeps: Keeps) -> None:
    """Messages come in UID order, each with its own prefix, size and body; those that are not there are left out."""

    async def promise(store: Store) -> None:
        new = [await new_message(store, key, key.encode() * 9, prefix=key.encode()) for key in "abc"]
        await store.index.append(ALICE, INBOX, new)
        for wanted in ([Uid(3), Uid(1), Uid(9)], [Uid(3), Uid(1), Uid(1)]):
            found = await store.index.messages(ALICE, INBOX, wanted)
            assert list(found) == [1, 3]
            assert [await octets(store, one) for one in found.values()] == [b"a" * 10, b"c" * 10]
            assert {one.size_octets for one in found.values()} == {10}
        assert list(await store.index.messages(ALICE, INBOX, range(2, 2**32))) == [2, 3]
        with pytest.raises(NotFound):
            await store.index.messages(ALICE, "elsewhere", [Uid(1)])

    keeps(promise)


def test_expunge_removes_for_good(keeps: Keeps) -> None:
    """What was removed is told in UID order, is gone with its octets and usage, and its UID never returns."""

    async def promise(store: Store) -> None:
        await store.index.append(ALICE, INBOX, [await new_message(store, key, b"x") for key in "abcd"])
        bodies = {uid: (await stored_as(store, Uid(uid))).body for uid in (2, 4)}
        assert (await store.index.expunge(ALICE, INBOX, [Uid(4), Uid(2), Uid(2), Uid(77)])).uids == [2, 4]
        assert (await store.index.expunge(ALICE, INBOX, [Uid(4), Uid(2)])).uids == []
        assert [row.uid for row in await store.index.rows(ALICE, INBOX)] == [1, 3]
        for uid, body in bodies.items():
            assert await store.index.messages(ALICE, INBOX, [Uid(uid)]) == {}
            with pytest.raises(NotFound):
                await store.blobs.get(body, 0, 1)
        assert (await store.index.usage(ALICE)).messages == 2
        (answer,) = await store.index.append(ALICE, INBOX, [await new_message(store, "e")])
        assert answer.uid == 5

    keeps(promise)


# Index: keys


async def append(store: Store, mailbox: str, *keys: str, **more: object) -> list[Uid]:
    answers = await store.index.append(ALICE, mailbox, [await new_message(store, key, **more) for key in keys])  # type: ignore[arg-type]
    return [answer.uid for answer in answers]


def test_messages_without_a_key(keeps: Keeps) -> None:
    """What nobody delivers twice needs no key: each append is one more message."""

    async def promise(store: Store) -> None:
        message = await new_message(store, None)
        first = await store.index.append(ALICE, INBOX, [message, message])
        second = await store.index.append(ALICE, INBOX, [message])
        assert [(answer.uid, answer.created) for answer in (*first, *second)] == [(1, True), (2, True), (3, True)]

    keeps(promise)


def test_keys_are_kept_for_their_time(keeps: Keeps) -> None:
    """A key is known for as long as was promised, and forgotten some time after that."""

    async def promise(store: Store) -> None:
        await append(store, INBOX, "k")
        store.clock.now_s += 999
        assert await append(store, INBOX, "k") == [1]
        store.clock.now_s += 24 * 3600 + 2
        await append(store, INBOX, "another")
        assert await append(store, INBOX, "k") == [3]

    keeps(promise)


def test_appends_at_once_fail_alone(keeps: Keeps) -> None:
    """Of appends at the same moment, each is refused for its own reason, and the others are made."""

    async def promise(store: Store) -> None:
        store.quotas[ALICE] = 1000
        small = [await new_message(store, f"s{number}", b"x", prefix=b"") for number in range(20)]
        large = await new_message(store, "large", b"x" * 1000, prefix=b"")
        missing = await new_message(store, "missing")
        await store.blobs.delete(missing.body)

        async def one(mailbox: str, *messages: NewMessage) -> Sequence[Appended] | BaseException:
            (answer,) = await asyncio.gather(store.index.append(ALICE, mailbox, messages), return_exceptions=True)
            return answer

        calls = [one(INBOX, message) for message in small]
        calls[5:5] = [one(INBOX, small[0], large), one("nowhere", small[1]), one(INBOX, missing), one(INBOX, small[2])]
        answers = await asyncio.gather(*calls)
        assert [type(answer) for answer in answers[5:8]] == [OverQuota, NotFound, NotFound]
        uids = [answer[0].uid for answer in answers if not isinstance(answer, BaseException)]
        assert sorted(set(uids)) == list(range(1, 21))
        assert (await store.index.usage(ALICE)).octets == 20

    keeps(promise)
