"""What has happened to a mailbox since a modseq that a client remembers. RFC 7162 §3.1.4, §3.2.

Guarantees: only what has changed is read and told; where the index has forgotten what was expunged, all UIDs that are
not there are told as vanished, as intervals, from where the client's own knowledge is found to hold (§3.2.5.2).
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from maillib.dialog import Output
from maillib.errors import TooOld
from maillib.ports.index import ModSeq, Uid
from maillib.protocols.imap.commands import Qresync
from maillib.protocols.imap.sequences import SequenceSet, of_numbers
from maillib.sessions.imap_view import Places, Selected, joined

INTERVALS_A_LINE = 1000
"""Of VANISHED: a line stays below 22 KB."""


@dataclass(frozen=True, slots=True)
class Since:
    """What has happened. UIDs ascend."""

    changed: Sequence[int] | None
    """New, or with other flags; None: it may be any of them."""
    vanished: Sequence[int] | None
    """None: nobody remembers; it may be all that are not there."""


async def since(selected: Selected, modseq: int) -> Since:
    """Raises MailboxGone, Transient, StoreUnusable."""
    changed, vanished = array("I"), array("I")
    at = ModSeq(min(modseq, selected.modseq))
    try:
        while True:
            changes = await selected.changes(at)
            changed.extend(row.uid for row in changes.rows)
            vanished.extend(changes.vanished)
            at = changes.modseq
            if changes.complete:
                return Since(sorted(changed), sorted(vanished))
    except TooOld:
        return Since(None, None)


def narrowed(selected: Selected, places: Places, changed: Sequence[int] | None) -> Places:
    """Those of the places that may have changed."""
    if changed is None:
        return places
    return Places(joined([at for uid in changed if (at := selected.place(uid)) is not None and at in places]))


async def tell_vanished(
    selected: Selected, vanished: Sequence[int] | None, known: Sequence[range], output: Output
) -> None:
    """Those among `known` UIDs (ascending, disjoint); `vanished` None: all that are not there."""
    intervals = _among(of_numbers(vanished).intervals if vanished else (), known)
    if vanished is None:
        intervals = _missing(selected, known)
    for start in range(0, len(intervals), INTERVALS_A_LINE):
        text = SequenceSet(tuple(intervals[start : start + INTERVALS_A_LINE]))
        await output.send(f"* VANISHED (EARLIER) {text}\r\n".encode())


def _among(intervals: Iterable[tuple[int, int]], known: Sequence[range]) -> list[tuple[int, int]]:
    """Ascending intervals, cut to ascending ranges."""
    starts = [each.start for each in known]
    found = []
    for first, last in intervals:
        for each in known[max(0, bisect_right(starts, first) - 1) : bisect_right(starts, last)]:
            low, high = max(first, each.start), min(last, each[-1])
            if low <= high:
                found.append((low, high))
    return found


def _missing(selected: Selected, known: Sequence[range]) -> list[tuple[int, int]]:
    """UIDs of `known` that no message has."""
    found = []
    uids = selected.uids
    for each in known:
        expected = each.start
        for at in range(bisect_left(uids, each.start), bisect_right(uids, each[-1])):
            uid = uids[at]
            if selected.is_gone(Uid(uid)):
                continue
            if uid > expected:
                found.append((expected, uid - 1))
            expected = uid + 1
        if expected <= each[-1]:
            found.append((expected, each[-1]))
    return found


def matched_uid(selected: Selected, known: Qresync) -> int:
    """Up to which UID the client's numbers are ours, so that nothing has vanished before it. RFC 7162 §3.2.5.2.

    0: it is not known.
    """
    if known.match_numbers is None or known.match_uids is None:
        return 0
    uids, found = selected.uids, 0
    pairs = zip(_numbers(known.match_numbers), _numbers(known.match_uids), strict=False)
    for number, uid in pairs:
        if number > len(uids) or uids[number - 1] != uid:
            break
        found = uid
    return found


def _numbers(numbers: SequenceSet) -> Iterable[int]:
    for first, last in numbers.intervals:
        yield from range(first, last + 1)
