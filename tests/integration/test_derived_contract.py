"""The store's contract: what `maillib.ports.derived` says of what an index knows beside the messages themselves."""

import pytest

from maillib.errors import NotFound
from maillib.ports.derived import Derived, Heading, Shown, Texts, View, Where
from maillib.ports.index import EVERY_UID, INBOX, MailboxId, Uid
from tests.support.store_engines import ALICE, Keeps, Store, new_message

NOBODY = MailboxId(99)
ALL = list(Shown)


def derived(uid: int, header: str = "\nsubject: x\n", body: str = "") -> Derived:
    return Derived(
        View(Uid(uid), b"(env %d)" % uid, b"(body)", b"(structure\0)", b"preview", b"Header: %d\r\n" % uid),
        Heading(
            Uid(uid), 1_700_000_000 + uid, 738_000, "x", "alice", "bob", "", "Alice", "Bob", f"{uid}@x", "a@x b@x "
        ),
        Texts(header, "\ncontent-type: text/plain\n", body),
    )


async def with_messages(store: Store, count: int) -> None:
    await store.index.append(ALICE, INBOX, [await new_message(store, None) for _ in range(count)])


def test_what_is_known_is_told(keeps: Keeps) -> None:
    """Views and headings come in UID order, of those that were asked for and are known, as they were put."""

    async def promise(store: Store) -> None:
        await with_messages(store, 4)
        assert await store.index.views(ALICE, INBOX, EVERY_UID, ALL) == []
        await store.index.put_derived(ALICE, INBOX, [derived(3), derived(1), derived(2)])
        assert [uid for uid, *_ in await store.index.views(ALICE, INBOX, EVERY_UID, ALL)] == [1, 2, 3]
        assert await store.index.views(ALICE, INBOX, [Uid(4), Uid(3)], ALL) == [derived(3).view]
        assert await store.index.views(ALICE, INBOX, EVERY_UID, []) == [(1,), (2,), (3,)]
        two = [Shown.HEADER, Shown.ENVELOPE]
        assert await store.index.views(ALICE, INBOX, range(2, 4), two) == [
            (2, b"Header: 2\r\n", b"(env 2)"),
            (3, b"Header: 3\r\n", b"(env 3)"),
        ]
        assert await store.index.views(ALICE, INBOX, [Uid(1)], [Shown.HEADER]) == [(1, b"Header: 1\r\n")]
        assert await store.index.headings(ALICE, INBOX, range(2, 9)) == [derived(2).heading, derived(3).heading]
        assert await store.index.views(ALICE, INBOX, [], ALL) == []
        with pytest.raises(NotFound):
            await store.index.views(ALICE, NOBODY, EVERY_UID, ALL)

    keeps(promise)


def test_what_is_known_stays(keeps: Keeps) -> None:
    """What is put again changes nothing: it cannot be anything else."""

    async def promise(store: Store) -> None:
        await with_messages(store, 1)
        for text in ("earlier", "later"):
            await store.index.put_derived(ALICE, INBOX, [derived(1, body=text)])
        assert (await store.index.containing(ALICE, INBOX, EVERY_UID, Where.BODY, "earlier")).uids == [1]
        assert (await store.index.containing(ALICE, INBOX, EVERY_UID, Where.BODY, "later")).uids == []

    keeps(promise)


@pytest.mark.parametrize(
    ("where", "text", "uids"),
    [
        (Where.SUBJECT, "grusse", [1]),
        (Where.SUBJECT, "", [1, 2]),
        (Where.FROM, "alice", [1]),
        (Where.TO, "", [2]),
        (Where.CC, "", []),
        (Where.BCC, "secret", [2]),
        (Where.HEADER, "x-tag: one", [1]),
        (Where.HEADER, "hello", []),
        ("x-tag", "two", [1]),
        ("x-tag", "x-tag", []),
        ("x-tag", "", [1]),
        ("x", "one", []),
        ("tag", "one", []),
        (Where.BODY, "hello", [2, 3]),
        (Where.BODY, "", [1, 2, 3]),
        (Where.BODY, "text/plain", []),
        (Where.TEXT, "text/plain", [1, 2, 3]),
        (Where.TEXT, "two", [1, 3]),
        (Where.TEXT, "nul\0inside", [3]),
        (Where.TEXT, "%", []),
    ],
)
def test_texts_are_searched(keeps: Keeps, where: Where | str, text: str, uids: list[int]) -> None:
    """Each place has its own text; an empty text finds those that have the field; what is unknown is not among them."""

    async def promise(store: Store) -> None:
        await with_messages(store, 4)
        first = "\nfrom: alice <a@x>\nsubject: grusse\nx-tag: one\nx-tag: two\n"
        second = "\nto: bob\nbcc: secret\nsubject:\n"
        known = [derived(1, first), derived(2, second, "hello"), derived(3, "\n", "two hello nul\0inside")]
        await store.index.put_derived(ALICE, INBOX, known)
        for _ in range(2):
            found = await store.index.containing(ALICE, INBOX, EVERY_UID, where, text)
            assert (found.known, found.uids) == ([1, 2, 3], uids)
            some = await store.index.containing(ALICE, INBOX, [Uid(2), Uid(4)], where, text)
            assert (some.known, some.uids) == ([2], [uid for uid in uids if uid == 2])
            assert await store.index.settle(ALICE) is False

    keeps(promise)


def test_nothing_is_known_of_what_is_gone(keeps: Keeps) -> None:
    """With its message, or with its mailbox, what was derived goes; of what is not there nothing is kept."""

    async def promise(store: Store) -> None:
        await with_messages(store, 3)
        await store.index.put_derived(ALICE, INBOX, [derived(uid) for uid in (1, 2, 3, 4)])
        await store.index.expunge(ALICE, INBOX, [Uid(2)])
        assert [uid for uid, *_ in await store.index.views(ALICE, INBOX, EVERY_UID, ALL)] == [1, 3]
        other = await store.index.create(ALICE, "other")
        await store.index.append(ALICE, other.id, [await new_message(store, None)])
        await store.index.put_derived(ALICE, other.id, [derived(1)])
        await store.index.delete(ALICE, "other")
        with pytest.raises(NotFound):
            await store.index.put_derived(ALICE, other.id, [derived(1)])
        assert [uid for uid, *_ in await store.index.views(ALICE, INBOX, EVERY_UID, ALL)] == [1, 3]

    keeps(promise)


def test_copies_are_known(keeps: Keeps) -> None:
    """What was derived from a message holds for its copies, under their UIDs, and for a message that was moved."""

    async def promise(store: Store) -> None:
        await with_messages(store, 3)
        await store.index.put_derived(ALICE, INBOX, [derived(2, body="hello"), derived(3)])
        other = await store.index.create(ALICE, "other")
        await store.index.copy(ALICE, INBOX, [Uid(1), Uid(2)], other.id)
        await store.index.move(ALICE, INBOX, [Uid(3)], other.id)
        assert await store.index.views(ALICE, other.id, EVERY_UID, ALL) == [derived(2).view, derived(3).view]
        assert [one.message_id for one in await store.index.headings(ALICE, other.id, EVERY_UID)] == ["2@x", "3@x"]
        found = await store.index.containing(ALICE, other.id, EVERY_UID, Where.BODY, "hello")
        assert (found.known, found.uids) == ([2, 3], [2])
        assert [uid for uid, *_ in await store.index.views(ALICE, INBOX, EVERY_UID, ALL)] == [2]

    keeps(promise)
