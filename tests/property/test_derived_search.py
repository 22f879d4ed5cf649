"""Searches by what is derived: the engine on disk finds what the one in memory finds, whatever has been prepared."""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maillib.embedded import derived_words
from maillib.message.text import fold
from maillib.ports.derived import Derived, Heading, Texts, View, Where
from maillib.ports.index import EVERY_UID, INBOX, MailboxId, Uid
from tests.support.store_engines import ALICE, Store, new_message, open_embedded, open_memory

MESSAGES = 6
pieces = st.sampled_from(
    ["a", "b", "ab", "A", " ", '"', '""', "\0", "\n", "'", "*", "^", "(", "é", "ß", "Ж", "日本", "😀", "NEAR"]
)
texts = st.lists(pieces, max_size=12).map(lambda some: fold("".join(some)))
lines = texts.map(lambda text: " ".join(text.split()))
fields = st.lists(st.tuples(st.sampled_from(["subject", "from", "x-a"]), lines), max_size=3)
headers = fields.map(lambda some: "\n" + "".join(f"{name}: {value}\n" for name, value in some))
needles = st.lists(pieces, max_size=5).map(lambda some: fold("".join(some)).replace("\n", ""))
wheres = st.sampled_from([*Where, "x-a", "subject"])
steps = st.one_of(
    st.just("settle"),
    st.integers(1, MESSAGES).map(lambda uid: ("expunge", uid)),
    st.integers(1, MESSAGES).map(lambda uid: ("copy", uid)),
    st.tuples(st.just("put"), st.integers(1, 2), st.integers(1, MESSAGES), headers, headers, texts),
)


def derived(uid: int, header: str, part_headers: str, body: str) -> Derived:
    heading = Heading(Uid(uid), None, None, "", "", "", "", "", "", "", "")
    return Derived(View(Uid(uid), b"", b"", b"", b"", b""), heading, Texts(header, part_headers, body))


async def act(store: Store, step: object) -> None:
    match step:
        case "settle":
            while await store.index.settle(ALICE):
                pass
        case ("expunge", int(uid)):
            await store.index.expunge(ALICE, INBOX, [Uid(uid)])
        case ("copy", int(uid)):
            await store.index.copy(ALICE, INBOX, [Uid(uid)], MailboxId(2))
        case ("put", int(mailbox), int(uid), str(header), str(part_headers), str(body)):
            await store.index.put_derived(ALICE, MailboxId(mailbox), [derived(uid, header, part_headers, body)])


async def compare(folder: Path, script: list[object], searches: list[tuple[Where | str, str]]) -> None:
    async with AsyncExitStack() as opened:
        stores = [await opened.enter_async_context(opener(folder)) for opener in (open_embedded, open_memory)]
        for store in stores:
            await store.index.create(ALICE, "other")
            await store.index.append(ALICE, INBOX, [await new_message(store, None) for _ in range(MESSAGES)])
            for step in script:
                await act(store, step)
        for where, text in searches:
            for mailbox in (MailboxId(1), MailboxId(2)):
                on_disk, in_memory = [
                    await store.index.containing(ALICE, mailbox, EVERY_UID, where, text) for store in stores
                ]
                assert on_disk == in_memory, (where, text)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(steps, max_size=14),
    st.lists(st.tuples(wheres, needles), min_size=1, max_size=12),
    st.sampled_from([10, derived_words.LONGEST]),
)
def test_what_is_found_does_not_depend_on_what_was_prepared(
    script: list[object], searches: list[tuple[Where | str, str]], longest: int
) -> None:
    """Texts with quotes, NULs, other alphabets and operators of query languages are found where they are; so are those
    that are too long to be prepared.
    """
    with tempfile.TemporaryDirectory() as folder, patch.object(derived_words, "LONGEST", longest):
        asyncio.run(compare(Path(folder), script, searches))
