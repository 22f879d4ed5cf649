"""A whole IMAP session and any commands: each is answered once, in words that RFC 9051 §9 allows."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maillib.protocols.imap.commands import Command, Enable, Login, Plain, Select
from maillib.protocols.imap.sequences import STAR, Saved, SequenceSet
from tests.fuzz.targets import TARGETS
from tests.support.imap_commands import STRINGS, Strings, Written, any_command, fetches, searches
from tests.support.imap_grammar import answers
from tests.support.imap_world import ImapWorld, run

MAILBOXES = st.sampled_from(["INBOX", "inbox", "a", "a/b", "Sent", "ä", "", "a/"])
ENDS = st.sampled_from([1, 2, 3, 5, STAR])
NEAR = st.one_of(
    st.just(SequenceSet(((1, STAR),))),
    st.just(Saved.RESULT),
    st.lists(st.tuples(ENDS, ENDS), min_size=1, max_size=2).map(lambda intervals: SequenceSet(tuple(intervals))),
)
ENABLES = st.sampled_from(
    [Enable(("CONDSTORE",)), Enable(("QRESYNC",)), Enable(("UTF8=ACCEPT",)), Enable(("IMAP4REV2",))]
)

MESSAGE = TARGETS["mime"].seeds[0]
MESSAGES = st.lists(
    st.one_of(
        st.binary(max_size=100),
        st.builds(
            lambda at, words: MESSAGE[: at % len(MESSAGE)] + b"".join(words) + MESSAGE[at % len(MESSAGE) :],
            st.integers(0, 10_000),
            st.lists(st.sampled_from(TARGETS["mime"].words), max_size=3),
        ),
    ),
    min_size=1,
    max_size=4,
)


@st.composite
def commands_at_hand(draw: st.DrawFn) -> Command:
    """About what is there."""
    command = draw(st.one_of(any_command, ENABLES, fetches(), searches(), st.builds(Select, MAILBOXES)))
    near = {"mailbox": MAILBOXES, "new_name": MAILBOXES, "messages": NEAR}
    changes = {name: draw(strategy) for name, strategy in near.items() if hasattr(command, name)}
    return _changed(command, changes) if changes else command


def _changed(command: Any, changes: Mapping[str, object]) -> Command:
    changed: Command = dataclasses.replace(command, **changes)
    return changed


def is_held(command: Command) -> bool:
    """It leaves the session where others can follow."""
    return not isinstance(command, Login) and command not in (Plain.LOGOUT, Plain.STARTTLS)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(MESSAGES, st.lists(commands_at_hand().filter(is_held), max_size=12), st.sampled_from(STRINGS))
def test_every_command_is_answered(messages: list[bytes], commands: list[Command], strings: Strings) -> None:
    """Once, with its tag; and nothing that is said on the way is anything but IMAP."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(*messages)
        client = await world.logged_in("INBOX")
        utf8 = False
        for number, command in enumerate(commands):
            line = Written(strings, utf8_names=utf8).command(command)
            said = await client.say(b"x%d %b\r\n" % (number, line))
            if command is Plain.IDLE and said.startswith(b"+"):
                said += await client.say(b"DONE\r\n")
            if isinstance(command, Enable) and {"UTF8=ACCEPT", "IMAP4REV2"} & set(command.names):
                utf8 = True
            assert [answer.tag for answer in answers(said, utf8=utf8)] == [f"x{number}"], said
            if b"no mailbox is selected" in said:
                await client.ok("SELECT INBOX")

    run(main)
