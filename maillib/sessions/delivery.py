"""One attempt to deliver a queued message: envelope in, outcomes out.

For each recipient that is not settled: the Directory says where the mail goes, an alias becomes recipients of its own,
a mailbox gets the message under the key QUEUE-ID:ACCOUNT, the members of a list get a message of their own
(`posting`). What may pass later waits, what will not is returned.

Guarantees: at least once for each recipient, and exactly once in each mailbox: whatever the instant at which the
process dies, the next attempt repeats nothing but an append whose key is known and a notification whose ID is known.
Nothing unexpected loses mail: an error that nobody foresaw is logged as a bug, and the message is tried again.

Leaves to others: which message is next (Queue), how many at a time, and what a stop means (`maillib.runtime.jobs`).
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from maillib import maillog
from maillib.errors import MailError, MailLoop, NotFound, OverQuota, PermanentError, StoreFull, TemporaryError
from maillib.message.header import delivery_prefix, one_line
from maillib.ports.directory import Account, Resolution
from maillib.ports.index import INBOX, NewMessage, delivery_key
from maillib.ports.lists import MailingList
from maillib.ports.queue import Claim, Envelope, Recipient, RecipientState
from maillib.sessions.bounce import Bounce, Failed
from maillib.sessions.delivery_ports import Ports
from maillib.sessions.posting import Posting
from maillib.sessions.retrying import RetryPolicy

APPENDS_AT_ONCE = 32
"""Of one message: as many as keep all threads of the Index at work. More would only wait there."""

STORE_FULL_WAIT = timedelta(seconds=3)
"""A full disk is nobody's attempt; mail flows again soon after there is space."""

MAX_REPLY = 500
"""Characters of a reply that are kept in the envelope."""

NO_OUTBOUND = "4.4.0 mail for other domains is kept: this version has no outbound delivery"

_UNSETTLED = frozenset({RecipientState.QUEUED, RecipientState.DEFERRED})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt came to for one recipient."""

    state: RecipientState
    reply: str
    """Begins with the status of RFC 3463."""
    counts: bool = True
    """As an attempt."""


DELIVERED = Outcome(RecipientState.DELIVERED, "2.1.5 delivered")

STATUSES: Mapping[type[MailError], str] = MappingProxyType(  # the nearest class on the MRO wins
    {
        OverQuota: "4.2.2",
        StoreFull: "4.3.1",
        TemporaryError: "4.3.0",
        MailLoop: "5.4.6",
        NotFound: "5.1.1",
        PermanentError: "5.3.0",
    }
)


def outcome_of(error: TemporaryError | PermanentError) -> Outcome:
    status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    state = RecipientState.FAILED if isinstance(error, PermanentError) else RecipientState.DEFERRED
    return Outcome(state, one_line(f"{status} {error}", most=MAX_REPLY), counts=not isinstance(error, StoreFull))


class Delivery:
    """One claimed message. `run` ends with the claim given up in one way or the other."""

    def __init__(
        self,
        claim: Claim,
        ports: Ports,
        policy: RetryPolicy,
        *,
        hostname: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._claim = claim
        self._ports = ports
        self._policy = policy
        self._hostname = hostname
        self._clock = clock
        self._chance = chance
        self._accounts: dict[str, Account] = {}
        """Mailboxes found in this attempt, by the key of their address."""
        self._lists: dict[str, MailingList] = {}
        """Lists likewise."""
        self._appending = asyncio.Semaphore(APPENDS_AT_ONCE)
        self._is_settled = False
        """The claim is being given up; a cancellation comes too late."""

    @property
    def id(self) -> str:
        return self._claim.id

    @property
    def peer(self) -> str:
        return self._claim.envelope.peer

    async def run(self) -> None:
        """Deliver, and settle the claim. Cancelled, it gives the message back untouched."""
        try:
            await self._attempt()
        except asyncio.CancelledError:
            if not self._is_settled:
                await self.give_back()
            raise
        except Exception as error:  # noqa: BLE001 - a delivery's top
            if isinstance(error, TemporaryError):
                maillog.problem(what=f"delivery of {self.id}", error=str(error))
            else:
                maillog.bug(what=f"delivery of {self.id}", error=error)
            await self._postpone()

    async def give_back(self) -> None:
        """Let others, or a later process, have the message as it is."""
        await self._ports.queue.release(self._claim)

    async def _attempt(self) -> None:
        outcomes = await self._resolve_all()
        pending = [one for one in self._unsettled() if one.address.key not in outcomes]
        results = await asyncio.gather(*map(self._deliver, pending))
        outcomes |= {one.address.key: outcome for one, outcome in zip(pending, results, strict=True)}
        now = self._clock()
        outcomes = {key: self._or_give_up(outcome, now) for key, outcome in outcomes.items()}
        outcomes = await self._return_failed(outcomes, now)
        envelope = self._settled(outcomes)
        waits = [one for one in envelope.recipients if one.state in _UNSETTLED]
        next_attempt = self._next_attempt(waits, outcomes, now) if waits else None
        self._log(outcomes, next_attempt)
        self._is_settled = True
        if next_attempt is None:
            await self._ports.queue.done(self._claim)
            maillog.removed(queue_id=self.id)
        else:
            await self._ports.queue.retry(self._claim, envelope, next_attempt)

    async def _postpone(self) -> None:
        """Try the message again later, though nothing is known of how far it came."""
        now, envelope = self._clock(), self._claim.envelope
        next_attempt = self._policy.next_attempt(now, envelope.queued, 1, self._chance())
        try:
            await self._ports.queue.retry(self._claim, envelope, next_attempt)
        except TemporaryError as error:
            maillog.problem(what=f"{self.id} stays claimed until this process ends", error=str(error))

    # Where it goes

    def _unsettled(self) -> list[Recipient]:
        return [one for one in self._claim.envelope.recipients if one.state in _UNSETTLED]

    async def _resolve_all(self) -> dict[str, Outcome]:
        """Find mailboxes and lists; outcomes of recipients that have neither, by the key of their address.

        Aliases become recipients of their own, and that is written down before anything is delivered: a repetition
        then goes to the same mailboxes, though the alias has changed meanwhile.
        """
        outcomes: dict[str, Outcome] = {}
        expanded: dict[str, list[Recipient]] = {}
        for recipient in self._unsettled():
            try:
                targets = await self._resolve(recipient)
            except (TemporaryError, PermanentError) as error:
                outcomes[recipient.address.key] = outcome_of(error)
                continue
            if targets is None:
                outcomes[recipient.address.key] = Outcome(RecipientState.DEFERRED, NO_OUTBOUND)
            elif targets:
                expanded[recipient.address.key] = targets
        if expanded:
            self._claim = await self._ports.queue.update(self._claim, self._expand(expanded))
            outcomes |= {
                one.address.key: Outcome(RecipientState.DEFERRED, NO_OUTBOUND)
                for one in self._unsettled()
                if one.address.key not in outcomes and not self._is_here(one)
            }
        return outcomes

    def _is_here(self, recipient: Recipient) -> bool:
        return recipient.address.key in self._accounts or recipient.address.key in self._lists

    async def _resolve(self, recipient: Recipient) -> list[Recipient] | None:
        """The recipients that an alias stands for; none: it is a mailbox or list; None: its domain is not ours.

        Raises what `Directory.resolve` raises.
        """
        address = recipient.address
        found = await self._ports.directory.resolve(address)
        if found.lists and self._claim.envelope.sender is None:
            found = await self._with_owners(found)
        self._accounts |= {account.address.key: account for account in found.accounts}
        self._lists |= {one.address.key: one for one in found.lists}
        targets = [account.address for account in found.accounts] + list(found.remote)
        targets += [one.address for one in found.lists]
        if [target.key for target in targets] == [address.key]:
            return [] if self._is_here(recipient) else None
        original = recipient.original or address
        return [
            replace(recipient, address=target, original=original, attempts=0, last_reply=None) for target in targets
        ]

    async def _with_owners(self, found: Resolution) -> Resolution:
        """Instead of lists their owners: a notification is never for the members."""
        owners = [await self._ports.directory.resolve(one.owner_address) for one in found.lists]
        accounts = {account.id: account for part in (found, *owners) for account in part.accounts}
        remote = {address.key: address for part in (found, *owners) for address in part.remote}
        return Resolution(tuple(accounts.values()), tuple(remote.values()))

    def _expand(self, expanded: Mapping[str, Sequence[Recipient]]) -> Envelope:
        """The envelope with the targets of those aliases: nobody twice, and nobody who was a recipient before."""
        envelope = self._claim.envelope
        recipients: list[Recipient] = []
        known = {one.address.key for one in envelope.recipients}
        for recipient in envelope.recipients:
            targets = expanded.get(recipient.address.key)
            if recipient.state not in _UNSETTLED or targets is None:
                recipients.append(recipient)
                continue
            is_target = any(target.address.key == recipient.address.key for target in targets)
            recipients.append(recipient if is_target else replace(recipient, state=RecipientState.EXPANDED))
        for targets in expanded.values():
            for target in targets:
                if target.address.key not in known:
                    known.add(target.address.key)
                    recipients.append(replace(target, state=RecipientState.QUEUED))
        return replace(envelope, recipients=tuple(recipients))

    # Mailboxes and lists

    async def _deliver(self, recipient: Recipient) -> Outcome:
        account = self._accounts.get(recipient.address.key)
        try:
            if account is None:
                return await self._post(recipient)
            async with self._appending:
                await self._append(account)
        except (TemporaryError, PermanentError) as error:
            return outcome_of(error)
        except Exception as error:  # noqa: BLE001 - this recipient's; the others get theirs
            maillog.bug(what=f"delivery of {self.id} to {recipient.address}", error=error)
            return Outcome(RecipientState.DEFERRED, "4.3.0 internal error, see the log")
        return DELIVERED

    async def _post(self, recipient: Recipient) -> Outcome:
        posting = Posting(self._claim, self._ports, hostname=self._hostname, now=self._clock())
        number = self._claim.envelope.recipients.index(recipient)
        queue_id = await posting.send(self._lists[recipient.address.key], number)
        return Outcome(RecipientState.DELIVERED, f"2.1.5 passed on to the members of the list as {queue_id}")

    async def _append(self, account: Account) -> None:
        envelope = self._claim.envelope
        message = NewMessage(
            delivery_key=delivery_key(self.id, account.id),
            prefix=delivery_prefix(sender=str(envelope.sender or ""), recipient=str(account.address)),
            body=self._claim.body,
            internal_date=envelope.queued,
        )
        await self._ports.index.append(account.id, INBOX, [message])

    # What comes of it

    def _or_give_up(self, outcome: Outcome, now: datetime) -> Outcome:
        queued = self._claim.envelope.queued
        if outcome.state is not RecipientState.DEFERRED or not self._policy.is_last(now, queued):
            return outcome
        age_h = self._policy.give_up_after.total_seconds() / 3600
        reply = f"4.4.7 given up after {age_h:g} h: {outcome.reply}"
        return Outcome(RecipientState.FAILED, one_line(reply, most=MAX_REPLY))

    async def _return_failed(self, outcomes: Mapping[str, Outcome], now: datetime) -> dict[str, Outcome]:
        """Queue a notification for what has failed; where that cannot be done now, it has not failed yet."""
        failed = [
            Failed(one, outcomes[one.address.key].reply)
            for one in self._unsettled()
            if outcomes[one.address.key].state is RecipientState.FAILED
        ]
        if not failed:
            return dict(outcomes)
        try:
            await Bounce(self._claim, self._ports, hostname=self._hostname, now=now).send(failed)
        except TemporaryError as error:
            maillog.problem(what=f"notification for {self.id}", error=str(error))
            wait = replace(outcome_of(error), state=RecipientState.DEFERRED)
            return dict(outcomes) | {one.recipient.address.key: wait for one in failed}
        return dict(outcomes)

    def _settled(self, outcomes: Mapping[str, Outcome]) -> Envelope:
        """The envelope after this attempt."""
        recipients = [
            replace(
                one,
                state=outcomes[one.address.key].state,
                attempts=one.attempts + outcomes[one.address.key].counts,
                last_reply=outcomes[one.address.key].reply,
            )
            if one.state in _UNSETTLED
            else one
            for one in self._claim.envelope.recipients
        ]
        return replace(self._claim.envelope, recipients=tuple(recipients))

    def _next_attempt(self, waiting: Sequence[Recipient], outcomes: Mapping[str, Outcome], now: datetime) -> datetime:
        if not all(outcomes[one.address.key].counts for one in waiting):
            return now + STORE_FULL_WAIT
        attempts = max(one.attempts for one in waiting)
        return self._policy.next_attempt(now, self._claim.envelope.queued, attempts, self._chance())

    def _log(self, outcomes: Mapping[str, Outcome], next_attempt: datetime | None) -> None:
        delay_s = (self._clock() - self._claim.envelope.queued).total_seconds()
        for recipient in self._unsettled():
            outcome = outcomes[recipient.address.key]
            rcpt = str(recipient.address)
            match outcome.state:
                case RecipientState.DELIVERED:
                    relay = "list" if recipient.address.key in self._lists else "local"
                    status = outcome.reply.split()[0]
                    maillog.delivered(queue_id=self.id, rcpt=rcpt, relay=relay, delay_s=delay_s, dsn=status)
                case RecipientState.FAILED:
                    maillog.failed(queue_id=self.id, rcpt=rcpt, reason=outcome.reply)
                case _:
                    assert next_attempt is not None
                    until = next_attempt.isoformat(timespec="seconds")
                    maillog.deferred(queue_id=self.id, rcpt=rcpt, reason=outcome.reply, next_attempt=until)
