"""What is done to messages that an account has: flags, expunge, copy, move; and what has changed since.

Each within one transaction of the caller's. New messages are `account_append`'s, mailboxes `account_mailboxes`'.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from maillib.embedded import account_tables as tables
from maillib.embedded.account_append import undone_on_error
from maillib.embedded.account_change import Change
from maillib.embedded.account_places import Places
from maillib.embedded.blobs import body_name
from maillib.embedded.bodies import body_status
from maillib.embedded.files import os_errors, sync_directory
from maillib.embedded.sidecar import Gone
from maillib.errors import OverQuota, TooOld
from maillib.ports.flags import DELETED, FlagChange, canonical, changed
from maillib.ports.index import (
    Changes,
    Copied,
    Expunged,
    FlagsChanged,
    Mailbox,
    MailboxKey,
    ModSeq,
    Row,
    Uid,
    Uids,
)

_FEW_SETS = 10
"""Sets of flags that are replaced with one statement each. Each goes over all the rows, at a twentieth of what it takes
to change them one by one."""


def set_flags(
    change: Change, key: MailboxKey, uids: Uids, how: FlagChange, flags: frozenset[str], unchanged_since: ModSeq | None
) -> FlagsChanged:
    mailbox = tables.mailbox(change.transaction, key)
    modseq = ModSeq(mailbox.highest_modseq + 1)
    flags = canonical(flags)
    before: list[Row] = []
    after: list[Row] = []
    refused: list[Uid] = []
    results: dict[frozenset[str], frozenset[str]] = {}  # few, however many messages have them
    for row in tables.rows(change.transaction, mailbox.id, uids):
        if unchanged_since is not None and row.modseq > unchanged_since:
            refused.append(row.uid)
            continue
        result = results.get(row.flags)
        if result is None:
            result = results[row.flags] = changed(row.flags, how, flags)
        if result != row.flags:
            before.append(row)
            after.append(Row(row.uid, modseq, row.size_octets, row.internal_date_s, result))
    if not after:
        return FlagsChanged(mailbox.highest_modseq, [], refused)
    replaced = 0
    if isinstance(uids, range) and unchanged_since is None and len(results) <= _FEW_SETS:
        replaced = tables.replace_flags(change.transaction, mailbox.id, uids, results, modseq)
    if replaced != len(after):
        tables.set_flags(change.transaction, mailbox.id, after)
    tables.count(change.transaction, mailbox.id, modseq, added=after, removed=before)
    change.note_flags(mailbox.id, after)
    change.changed[mailbox.id] = modseq
    return FlagsChanged(modseq, after, refused)


def expunge(change: Change, key: MailboxKey, uids: Uids, *, only_deleted: bool, keep_tombstones: int) -> Expunged:
    mailbox = tables.mailbox(change.transaction, key)
    rows = tables.rows(change.transaction, mailbox.id, uids)
    if only_deleted:
        rows = [row for row in rows if DELETED in row.flags]
    return _remove(change, mailbox, rows, keep_tombstones)


def _remove(change: Change, mailbox: Mailbox, rows: Sequence[Row], keep_tombstones: int) -> Expunged:
    if not rows:
        return Expunged(mailbox.highest_modseq, [])
    modseq = ModSeq(mailbox.highest_modseq + 1)
    uids = [row.uid for row in rows]
    tables.remove(change.transaction, mailbox.id, uids, modseq)
    tables.count(change.transaction, mailbox.id, modseq, removed=rows)
    if mailbox.uid_next - 1 - mailbox.messages + len(uids) > keep_tombstones:  # so many have ever been expunged
        tables.forget_tombstones(change.transaction, mailbox.id, keep=keep_tombstones)
    change.notes.append(Gone(mailbox.id, modseq, uids))
    change.changed[mailbox.id] = modseq
    return Expunged(modseq, uids)


def copy(
    change: Change,
    folder: Path,
    source_key: MailboxKey,
    uids: Uids,
    destination_key: MailboxKey,
    *,
    owner: str,
    quota_octets: int | None,
) -> Copied:
    """`folder`: the account's. What is copied is charged to it: `owner` is whom an OverQuota names."""
    transaction = change.transaction
    source, destination = tables.mailbox(transaction, source_key), tables.mailbox(transaction, destination_key)
    rows = tables.rows(transaction, source.id, uids)
    if not rows:
        return Copied(destination.uid_validity, {})
    octets = sum(row.size_octets for row in rows)
    if quota_octets is not None and (used := tables.usage(transaction).octets) + octets > quota_octets:
        raise OverQuota(owner, used_octets=used, limit_octets=quota_octets)
    prefixes = {uid: prefix for uid, prefix, _ in tables.contents(transaction, source.id, [row.uid for row in rows])}
    modseq = ModSeq(destination.highest_modseq + 1)
    copies: list[Row] = []
    places = Places(folder, change.placing)
    uid_next = destination.uid_next
    with undone_on_error(places.taken), os_errors():
        for row in rows:
            body = f"{folder}/{source.id}/{body_name(row.uid)}"
            uid = places.place(body, body_status(body), destination.id, uid_next, row.internal_date_s)
            copies.append(row._replace(uid=uid, modseq=modseq))
            uid_next = Uid(uid + 1)
        sync_directory(folder / str(destination.id))
        tables.insert(
            transaction,
            [
                tables.NewRow(destination.id, its_copy, prefixes[row.uid])
                for row, its_copy in zip(rows, copies, strict=True)
            ],
        )
        tables.count(transaction, destination.id, modseq, added=copies)
    change.note_flags(destination.id, [row for row in copies if row.flags])
    change.changed[destination.id] = modseq
    return Copied(destination.uid_validity, {row.uid: one.uid for row, one in zip(rows, copies, strict=True)})


def move(
    change: Change,
    folder: Path,
    source_key: MailboxKey,
    uids: Uids,
    destination_key: MailboxKey,
    *,
    keep_tombstones: int,
) -> Copied:
    moved = copy(change, folder, source_key, uids, destination_key, owner="", quota_octets=None)
    expunge(change, source_key, list(moved.uids), only_deleted=False, keep_tombstones=keep_tombstones)
    return moved


def changes(transaction: sqlite3.Connection, key: MailboxKey, since: ModSeq, limit: int) -> Changes:
    mailbox = tables.mailbox(transaction, key)
    if since >= mailbox.highest_modseq:  # as nearly always
        return Changes(since, [], [], complete=True)
    if since < tables.forgotten_modseq(transaction, mailbox.id):
        raise TooOld(f"mailbox {mailbox.id} has forgotten what was expunged after modseq {since}")
    until = tables.modseq_of_change(transaction, mailbox.id, since, limit) or mailbox.highest_modseq
    return Changes(
        max(since, until),
        tables.rows_after(transaction, mailbox.id, since, until),
        tables.tombstones_after(transaction, mailbox.id, since, until),
        complete=until >= mailbox.highest_modseq,
    )
