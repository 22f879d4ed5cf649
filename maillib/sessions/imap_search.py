"""SEARCH: which messages a client means, and how it is told. RFC 9051 §6.4.4, RFC 4731, RFC 5182.

Leaves to others: whether a message is meant (`imap_matching`).
"""

from collections.abc import Sequence

from maillib.dialog import Output
from maillib.errors import MailError
from maillib.ports.index import ModSeq
from maillib.protocols.imap import replies
from maillib.protocols.imap.commands import Search, SearchReturn
from maillib.protocols.imap.search_keys import ModSeqFrom
from maillib.sessions.imap_client import Client, Done
from maillib.sessions.imap_matching import Match, leaves, matching


async def search(client: Client, tag: str, command: Search, output: Output) -> Done:
    selected = client.selected
    returns = command.returns
    tells_modseq = any(isinstance(leaf, ModSeqFrom) for leaf in leaves(command.key))
    if tells_modseq:
        client.condstore = True
    try:
        found = [one async for some in matching(client, command.key, with_modseqs=tells_modseq) for one in some]
    except MailError:
        if returns is not None and SearchReturn.SAVE in returns:
            selected.saved = ()  # RFC 5182 §2.1
        raise
    if returns is None and not client.rev2:
        numbers = [one.uid if command.uid else one.number for one in found]
        modseq = max((one.modseq for one in found), default=None) if tells_modseq else None
        await output.send(replies.numbers_found("SEARCH", numbers, highest_modseq=modseq))
        return Done("searched")
    returns = returns or frozenset((SearchReturn.ALL,))
    meant = _meant(found, returns)
    if SearchReturn.SAVE in returns:
        selected.saved = [one.uid for one in meant]
    if returns != {SearchReturn.SAVE}:
        modseq = max((one.modseq for one in meant), default=None) if tells_modseq else None
        await output.send(_esearch(tag, command, returns, found, modseq))
    return Done("searched")


def _meant(found: Sequence[Match], returns: frozenset[SearchReturn]) -> Sequence[Match]:
    """What is saved, and whose modseqs count. RFC 5182 §2.4, RFC 4731 §3.2."""
    if returns & {SearchReturn.ALL, SearchReturn.COUNT} or not returns & {SearchReturn.MIN, SearchReturn.MAX}:
        return found
    ends = ((SearchReturn.MIN, found[:1]), (SearchReturn.MAX, found[-1:]))
    return list(dict.fromkeys(one for end, ones in ends if end in returns for one in ones))


def _esearch(
    tag: str, command: Search, returns: frozenset[SearchReturn], found: Sequence[Match], modseq: ModSeq | None
) -> bytes:
    numbers = [one.uid if command.uid else one.number for one in found]
    return replies.esearch(
        tag,
        uid=command.uid,
        least=numbers[0] if numbers and SearchReturn.MIN in returns else None,
        most=numbers[-1] if numbers and SearchReturn.MAX in returns else None,
        count=len(numbers) if SearchReturn.COUNT in returns else None,
        found=numbers if SearchReturn.ALL in returns else (),
        highest_modseq=modseq,
    )
