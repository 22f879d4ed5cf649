"""A store with mail that came through the spool and mail that was appended, without services."""

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from maillib.embedded.account_index import AccountIndex
from maillib.embedded.blobs import LOOSE_MODE
from maillib.embedded.open_accounts import OpenAccounts
from maillib.message.header import delivery_prefix
from maillib.message.received import Hop, received
from maillib.ports.blobs import BlobRef
from maillib.ports.directory import AccountId
from maillib.ports.index import INBOX, ModSeq, NewMessage, Uid, delivery_key

ALICE = AccountId(1)
BOB = AccountId(2)
ADDRESSES = {ALICE: "alice@example.test", BOB: "bob@example.test"}
WHEN = datetime(2026, 3, 1, 7, 8, 9, tzinfo=UTC)


@dataclass(frozen=True)
class Seen:
    """A message as its reader sees it."""

    uid: Uid
    octets: bytes
    size_octets: int
    internal_date: datetime
    flags: frozenset[str] = field(default_factory=frozenset)


class StoreWorld:
    """Everything through an index that is opened anew for each call, like that of another process."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        for folder in ("mail/loose", "spool/messages"):
            (state_dir / folder).mkdir(parents=True, exist_ok=True)
        self._count = 0

    def folder(self, account: AccountId = ALICE) -> Path:
        return self.state_dir / "mail" / str(account)

    def body(self, account: AccountId, uid: int, mailbox: int = 1) -> Path:
        return self.folder(account) / str(mailbox) / f"{uid:010d}.eml"

    def queue(self, sender: str, text: bytes = b"Subject: x\r\n\r\nbody\r\n", when: datetime = WHEN) -> str:
        """A body in the spool, as SMTP leaves it. Its queue ID."""
        self._count += 1
        queue_id = f"Q{self._count}"
        hop = Hop(
            client_name="client.test",
            client_host="192.0.2.1",
            hostname="mail.example.test",
            queue_id=queue_id,
            sender=sender,
            extended=True,
            cipher=None,
            authenticated=False,
            smtputf8=False,
            recipient=None,
            when=when,
        )
        path = self.spooled(queue_id)
        path.write_bytes(received(hop) + text)
        path.chmod(0o640)
        os.utime(path, (when.timestamp(), when.timestamp()))
        return queue_id

    def spooled(self, queue_id: str) -> Path:
        return self.state_dir / "spool" / "messages" / f"{queue_id}.eml"

    def deliver(self, queue_id: str, sender: str, *accounts: AccountId, when: datetime = WHEN) -> None:
        """As a spool does it, which then dies before it removes the body."""
        for account in accounts:
            address = ADDRESSES[account]
            self._append(
                account,
                NewMessage(
                    delivery_key=delivery_key(queue_id, account),
                    prefix=delivery_prefix(sender=sender, recipient=address),
                    body=BlobRef(f"spool:{queue_id}"),
                    internal_date=when,
                ),
            )

    def receive(self, sender: str, *accounts: AccountId, when: datetime = WHEN) -> str:
        """Queue, deliver, and done. The queue ID."""
        queue_id = self.queue(sender, when=when)
        self.deliver(queue_id, sender, *accounts, when=when)
        self.spooled(queue_id).unlink()
        return queue_id

    def append(self, account: AccountId, octets: bytes, when: datetime = WHEN) -> None:
        """As a client puts a message there."""
        self._count += 1
        name = f"{self._count:032x}"
        path = self.state_dir / "mail" / "loose" / f"{name}.eml"
        path.write_bytes(octets)
        path.chmod(LOOSE_MODE)
        os.utime(path, (when.timestamp(), when.timestamp()))
        self._append(
            account, NewMessage(delivery_key=name, prefix=b"", body=BlobRef(f"loose:{name}"), internal_date=when)
        )
        path.unlink()

    def _append(self, account: AccountId, message: NewMessage) -> None:
        with self.index() as accounts, accounts.use(account) as index:
            index.append(INBOX, [message], owner=ADDRESSES[account], quota_octets=None)

    def index(self) -> "_Opened":
        return _Opened(self.state_dir)

    def seen(self, account: AccountId = ALICE, mailbox: str = INBOX) -> list[Seen]:
        with self.index() as accounts, accounts.use(account) as index:
            return [self._message(index, mailbox, row.uid, row.internal_date, row.flags) for row in index.rows(mailbox)]

    def _message(
        self, index: AccountIndex, mailbox: str, uid: Uid, internal_date: datetime, flags: frozenset[str]
    ) -> Seen:
        stored = index.messages(mailbox, [uid])[uid]
        number = stored.body.removeprefix("mail:").split("/")[1]
        octets = stored.prefix + self.body(index.account, uid, int(number)).read_bytes()
        return Seen(uid, octets, stored.size_octets, internal_date, flags)

    def expunge(self, account: AccountId, *uids: int) -> None:
        with self.index() as accounts, accounts.use(account) as index:
            index.expunge(INBOX, [Uid(uid) for uid in uids])

    def modseq(self, account: AccountId = ALICE) -> ModSeq:
        with self.index() as accounts, accounts.use(account) as index:
            return index.mailboxes()[0].highest_modseq

    def lose(self, account: AccountId = ALICE) -> None:
        """The index, with what lies beside it."""
        for path in self.folder(account).glob("index.sqlite3*"):
            path.unlink()


class _Opened:
    def __init__(self, state_dir: Path) -> None:
        self._accounts = OpenAccounts(state_dir)

    def __enter__(self) -> OpenAccounts:
        return self._accounts

    def __exit__(self, *_: object) -> None:
        self._accounts.close()
