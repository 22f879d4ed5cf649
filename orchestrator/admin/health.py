"""What `doctor` says of queued and stored mail: quick looks only; `queue check` and `mailbox check` read everything.

What it finds has its kinds in `doctor`: documentation is made without the store.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from maillib.embedded.blobs import account_path
from maillib.embedded.open_accounts import OpenAccounts
from maillib.errors import MailError, StoreDamaged
from orchestrator import doctor
from orchestrator.admin import mailboxes, mailqueue
from orchestrator.admin.owner import acting_as_owner
from orchestrator.preflight.finding import Finding

_LOOK_S = 2.0
"""How long accounts are looked at: a thousand or so."""


def find(state_dir: Path) -> Iterator[Finding]:
    """Changes nothing."""
    try:
        set_aside = mailqueue.set_aside(state_dir)
        if set_aside:
            some = ", ".join(set_aside[:5]) + (", …" if len(set_aside) > 5 else "")
            yield doctor.SPOOL.at((), f"{len(set_aside)} set aside in the spool: {some}")
        for text in mailboxes.strays(state_dir):
            yield doctor.STRAY.at((), text)
        yield from _indexes(state_dir)
    except (MailError, OSError) as error:
        yield doctor.UNREADABLE.at((), str(error))


def _indexes(state_dir: Path) -> Iterator[Finding]:
    """Whether each can be opened and read from."""
    until = time.monotonic() + _LOOK_S
    chosen = mailboxes.chosen(state_dir, (), everything=True)
    for number, account in enumerate(chosen):
        if time.monotonic() > until:
            yield doctor.NOT_ALL.at((), f"{number} of {len(chosen)} accounts were looked at")
            return
        if not account_path(state_dir, account.id).is_dir():
            continue
        try:
            with (
                acting_as_owner(state_dir / "mail"),
                closing(OpenAccounts(state_dir)) as opened,
                opened.use(account.id) as index,
            ):
                index.mailboxes()
        except StoreDamaged as error:
            rebuild = f"`postroom mailbox rebuild {account.address}` makes it anew"
            yield doctor.INDEX.at((), f"{account.address}: {error}", rebuild)
        except MailError as error:
            yield doctor.UNREADABLE.at((), f"{account.address}: {error}")
