"""The way back from an apply of accounts, for one whose services then failed.

Guarantees: one transaction. What is still as the apply left it becomes what it was before, passwords included; what a
person has changed since stays. Mail is kept: an account that the apply had made is removed as an entry alone.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from maillib.ports.directory import DirectoryEditor, Edit, Entries, SetPassword, StoredPassword
from orchestrator.admin import opened
from orchestrator.admin.entries import Entry, address_of, named_entries, put, remove
from orchestrator.admin.ownership import PASSWORD, AccountAction, Named, Verb
from orchestrator.admin.record import Record


@dataclass(frozen=True, slots=True)
class Moment:
    """The directory at one moment."""

    entries: Entries
    live: Mapping[Named, Entry]
    passwords: Mapping[Named, StoredPassword]


async def moment(directory: DirectoryEditor, entries: Entries) -> Moment:
    """`entries`, read just now, and the passwords beside them."""
    stored = await directory.passwords()
    passwords = {
        Named("account", account.address.key): stored[account.id]
        for account in entries.accounts
        if account.id in stored
    }
    return Moment(entries, named_entries(entries, {}), passwords)


@dataclass(frozen=True, slots=True)
class WayBack:
    state_dir: Path
    actions: tuple[AccountAction, ...]
    before: Moment
    after: Moment
    """Of the apply."""

    def go(self) -> None:
        """Raises MailError."""

        async def run() -> None:
            async with opened.directory(self.state_dir) as directory:
                record = self.before.entries.declared or str(Record())
                while True:
                    now = await moment(directory, await directory.entries())
                    edits = [*self._edits(now)]
                    if await opened.commit(self.state_dir, directory, edits, now.entries, declared=record):
                        return

        asyncio.run(run())

    def _edits(self, now: Moment) -> Iterator[Edit]:
        """What was made first is undone last."""
        made = {action.object for action in self.actions if action.verb is Verb.ADD}
        going = {named for named in made if _is_same(named, self.after, now)}
        in_use = {named.domain for named in now.live if named not in going}
        for action in reversed(self.actions):
            named = action.object
            if action.verb is Verb.ADD:
                if named in going and not (named.kind == "domain" and named.key in in_use):
                    yield remove(named, now.live[named].written)
            elif action.verb is Verb.REMOVE:
                if named not in now.live:
                    yield put(named, self.before.live[named])
                    yield from self._password(named)
            elif action.is_change and named in now.live:
                yield from self._restored(action, now)

    def _restored(self, action: AccountAction, now: Moment) -> Iterator[Edit]:
        """The fields that are as the apply left them."""
        named = action.object
        was, left, is_ = (found.live[named].fields for found in (self.before, self.after, now))
        changed = {change.field for change in action.changes} - {PASSWORD}
        fields = {name: was[name] if name in changed and is_[name] == left[name] else is_[name] for name in is_}
        set_anew = any(change.field == PASSWORD for change in action.changes)
        give_back = set_anew and now.passwords.get(named) == self.after.passwords.get(named)
        if give_back and named not in self.before.passwords:
            yield remove(named, now.live[named].written)  # it comes back without a password, as it was
        yield put(named, Entry(fields, now.live[named].written))
        if give_back:
            yield from self._password(named)

    def _password(self, named: Named) -> Iterator[Edit]:
        if named in self.before.passwords:
            address = address_of(self.before.live[named].written)
            yield SetPassword(address=address, stored=self.before.passwords[named])


def _is_same(named: Named, one: Moment, other: Moment) -> bool:
    return one.live.get(named) == other.live.get(named) and one.passwords.get(named) == other.passwords.get(named)
