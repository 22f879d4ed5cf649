"""Accounts for a rehearsal: made for it, sent to by it alone, and removed with all they have.

Guarantees: whatever was made carries the token of the rehearsal in its name, so that `remove_all` finds it without
having been told; also what is still queued. A guest is in a domain that is here already; where there is none, in one
that is nobody's (RFC 6761 §6.4) and goes with them.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from maillib.address import Address
from maillib.embedded.blobs import EmbeddedBlobs
from maillib.embedded.index import EmbeddedIndex
from maillib.errors import Conflict, MailError, NotFound
from maillib.message.header import delivery_prefix
from maillib.ports.index import INBOX, NewMessage
from maillib.ports.queue import QueueItem, QueueState
from orchestrator.admin import accounts, mailqueue, objects, opened
from orchestrator.admin.ownership import Named
from orchestrator.rehearse.conversation import Guest, Letter
from orchestrator.rehearse.report import Unexpected

_REMOVE_S = 10.0
"""How long messages may be worked on that have to go."""
_POLL_S = 0.05


class Guests:
    """Those of one rehearsal."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._token = f"rehearsal-{secrets.token_hex(6)}"
        self._own_domain = f"{self._token}.invalid"
        self._numbers = count(1)
        self._domain: str | None = None

    def new(self) -> Guest:
        guest = Guest(f"{self._token}-{next(self._numbers)}@{self._their_domain()}", secrets.token_urlsafe(12))
        named = Named("account", guest.address)
        objects.add(self._state_dir, named, guest.address, {"name": "Rehearsal"}, password=guest.password)
        return guest

    def declared(self) -> Sequence[str]:
        found = accounts.entries(self._state_dir)
        domains = {domain.name for domain in found.domains if domain.enabled}
        addresses = [one.address for one in found.accounts if one.enabled]
        addresses += [one.address for one in found.aliases if one.enabled]
        addresses += [one.address for one in found.lists if one.enabled]
        return [str(one) for one in addresses if one.domain in domains and not self._is_guest(one)]

    def waits(self, queue_id: str) -> str | None:
        try:
            item = mailqueue.message(self._state_dir, queue_id)
        except NotFound:
            return None
        if item.state in (QueueState.DEFERRED, QueueState.HOLD, QueueState.CORRUPT):
            replies = [one.last_reply for one in item.envelope.recipients] if item.envelope else []
            raise Unexpected(
                "a delivery", f"{queue_id} is {item.state.value}: {next(filter(None, replies), 'no reply')}"
            )
        return item.state.value

    def stored(self, guest: Guest) -> int:
        found = accounts.entries(self._state_dir)
        account = accounts.account_of(found, Address.parse(guest.address))
        return accounts.usage(self._state_dir, account.id).messages

    def queue(self, letter: Letter, *, hostname: str) -> str:
        recipient = Address.parse(letter.guest.address)
        return mailqueue.put(self._state_dir, hostname=hostname, recipient=recipient, octets=letter.octets)

    def put(self, letter: Letter) -> None:
        asyncio.run(self._put(letter))

    def remove_all(self) -> None:
        """Raises MailError when something is left, after everything else is gone."""
        self._empty_queue()
        found = accounts.entries(self._state_dir)
        errors: list[MailError] = []
        for account in (*found.accounts, *found.removed):
            if self._is_guest(account.address):
                try:
                    accounts.purge_account(self._state_dir, account.address)
                except MailError as error:
                    errors.append(error)
        if errors:
            raise errors[0]
        with suppress(NotFound):
            objects.remove(self._state_dir, Named("domain", self._own_domain))

    async def _put(self, letter: Letter) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield letter.octets

        address = letter.guest.address
        async with opened.directory(self._state_dir) as directory:
            account = accounts.account_of(await directory.entries(), Address.parse(address))
            blobs = EmbeddedBlobs(self._state_dir)
            index = EmbeddedIndex(self._state_dir, directory.account)
            try:
                body = await blobs.put(chunks())
                message = NewMessage(
                    delivery_key=None,
                    prefix=delivery_prefix(sender=address, recipient=address),
                    body=body,
                    internal_date=datetime.now(UTC),
                )
                await index.append(account.id, INBOX, [message])
                await blobs.delete(body)
            finally:
                await index.close()
                await blobs.close()

    def _their_domain(self) -> str:
        if self._domain is None:
            found = accounts.entries(self._state_dir)
            self._domain = next((domain.name for domain in found.domains if domain.enabled), None)
            if self._domain is None:
                self._domain = self._own_domain
                objects.add(self._state_dir, Named("domain", self._own_domain), self._own_domain, {})
        return self._domain

    def _is_guest(self, address: Address) -> bool:
        return address.local.startswith(f"{self._token}-")

    def _empty_queue(self) -> None:
        deadline = time.monotonic() + _REMOVE_S
        while left := [item.id for item in mailqueue.messages(self._state_dir) if self._is_ours(item)]:
            mailqueue.remove(self._state_dir, left)
            if time.monotonic() > deadline:
                raise Conflict(f"still queued, and worked on: {', '.join(left)}")
            time.sleep(_POLL_S)

    def _is_ours(self, item: QueueItem) -> bool:
        envelope = item.envelope
        return envelope is not None and any(self._is_guest(one.address) for one in envelope.recipients)
