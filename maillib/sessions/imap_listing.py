"""LIST and LSUB: which mailboxes there are, and what is known of them. RFC 9051 §6.3.9, RFC 5258, RFC 5819, RFC 6154.

Guarantees: one snapshot of the mailboxes for each command, and one pass over their names; a level that is no mailbox
but has some below it is listed as such.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from maillib.dialog import Output
from maillib.errors import NotFound
from maillib.ports.index import INBOX, SEPARATOR, Mailbox, canonical_name
from maillib.protocols.imap import replies
from maillib.protocols.imap.commands import List, ListReturn, Lsub, Selection
from maillib.protocols.imap.patterns import Patterns
from maillib.sessions.imap_client import Client, Done
from maillib.sessions.imap_mailboxes import status_values
from maillib.sessions.imap_replies import Bad

LINES_AT_ONCE = 500


@dataclass(slots=True)
class _Name:
    """What LIST can tell of one name."""

    mailbox: Mailbox | None = None
    """None: nothing has that name itself."""
    subscribed: bool = False
    has_children: bool = False
    has_subscribed_below: bool = False


def _names(mailboxes: Iterable[Mailbox], subscriptions: Iterable[str]) -> dict[str, _Name]:
    """All names with what is above them; INBOX first, then in the order of the alphabet."""
    names: dict[str, _Name] = {}
    for mailbox in mailboxes:
        names.setdefault(mailbox.name, _Name()).mailbox = mailbox
        for above in _above(mailbox.name):
            names.setdefault(above, _Name()).has_children = True
    for subscribed in subscriptions:
        names.setdefault(subscribed, _Name()).subscribed = True
        for above in _above(subscribed):
            names.setdefault(above, _Name()).has_subscribed_below = True
    return dict(sorted(names.items(), key=lambda item: (item[0] != INBOX, item[0])))


def _above(name: str) -> Iterable[str]:
    """All levels above it, INBOX in its one spelling."""
    levels = name.split(SEPARATOR)
    for depth in range(1, len(levels)):
        yield canonical_name(SEPARATOR.join(levels[:depth]))


async def list_(client: Client, command: List, output: Output) -> Done:
    if command.patterns == ("",) and not command.extended:
        await output.send(replies.list_line("", ("\\NoSelect",), separator=SEPARATOR, utf8=client.utf8))
        return Done("done")
    recursive = Selection.RECURSIVEMATCH in command.selection
    if recursive and not command.selection - {Selection.RECURSIVEMATCH, Selection.REMOTE}:
        raise Bad("RECURSIVEMATCH says what to do with another selection")  # RFC 5258 §3.1
    by_subscription = Selection.SUBSCRIBED in command.selection
    by_use = Selection.SPECIAL_USE in command.selection
    tells_subscribed = by_subscription or ListReturn.SUBSCRIBED in command.returns
    patterns = _patterns(command.reference, command.patterns)
    lines = []
    for name, known in (await _all_names(client)).items():
        if not patterns.match(name):
            continue
        wanted = (
            (not by_use or (known.mailbox is not None and known.mailbox.special_use is not None))
            and (not by_subscription or known.subscribed)
            and (by_subscription or known.mailbox is not None or known.has_children)
        )
        below = recursive and by_subscription and known.has_subscribed_below
        if not wanted and not below:
            continue
        attributes = _attributes(known)
        if tells_subscribed and known.subscribed:
            attributes.append("\\Subscribed")
        line = replies.list_line(name, attributes, separator=SEPARATOR, utf8=client.utf8, children_are_subscribed=below)
        if command.status and known.mailbox is not None:
            try:
                values = await status_values(client, known.mailbox, command.status)
                line += replies.status_line(name, values, utf8=client.utf8)
            except NotFound:
                pass  # deleted a moment ago. RFC 5819 §2
        lines.append(line)
    await _send(lines, output)
    return Done("done")


async def lsub(client: Client, command: Lsub, output: Output) -> Done:
    """With `%` at its end a pattern also means levels above what is subscribed. RFC 3501 §6.3.9."""
    patterns = _patterns(command.reference, (command.pattern,))
    lines = []
    for name, known in (await _all_names(client)).items():
        if known.subscribed:
            attributes = _attributes(known)
        elif known.has_subscribed_below and command.pattern.endswith("%"):
            attributes = ["\\NoSelect"]
        else:
            continue
        if patterns.match(name):
            lines.append(replies.list_line(name, attributes, separator=SEPARATOR, utf8=client.utf8, kind="LSUB"))
    await _send(lines, output)
    return Done("done")


async def _all_names(client: Client) -> dict[str, _Name]:
    account = client.account.id
    mailboxes: Sequence[Mailbox] = await client.index.mailboxes(account)
    subscriptions: Collection[str] = await client.index.subscriptions(account)
    return _names(mailboxes, subscriptions)


def _patterns(reference: str, patterns: Iterable[str]) -> Patterns:
    return Patterns((reference + pattern for pattern in patterns), separator=SEPARATOR)


def _attributes(known: _Name) -> list[str]:
    attributes = []
    if known.mailbox is None:
        attributes += ["\\NonExistent", "\\NoSelect"]  # the second for those who do not know the first
    attributes.append("\\HasChildren" if known.has_children else "\\HasNoChildren")
    if known.mailbox is not None and known.mailbox.special_use is not None:
        attributes.append(known.mailbox.special_use)
    return attributes


async def _send(lines: Sequence[bytes], output: Output) -> None:
    for start in range(0, len(lines), LINES_AT_ONCE):
        await output.send(b"".join(lines[start : start + LINES_AT_ONCE]))
