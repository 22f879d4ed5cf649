"""How much mail is at stake where a plan takes somebody's mailbox out of use."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from maillib.errors import MailError
from maillib.ports.directory import Account, DirectoryEditor
from orchestrator.admin.ownership import AccountAction, AtStake, Named

if TYPE_CHECKING:
    from maillib.embedded.index import EmbeddedIndex

_OPEN_ACCOUNTS = 16
"""At the same time: somewhat more than there are threads."""


async def with_stakes(
    state_dir: Path, directory: DirectoryEditor, actions: Sequence[AccountAction], accounts: Sequence[Account]
) -> tuple[AccountAction, ...]:
    """`actions`, each that takes an account or a domain out of use with the mail of it."""
    losing = {action.object for action in actions if action.takes_out_of_use}
    if not losing:
        return tuple(actions)
    # They cost a plan more than the plan itself.
    from maillib.embedded.blobs import account_path
    from maillib.embedded.index import EmbeddedIndex

    total = {named: AtStake() for named in losing if named.kind in ("account", "domain")}
    concerned = [
        account
        for account in accounts
        if any(named in losing for named in _places(account)) and account_path(state_dir, account.id).exists()
    ]  # to ask for mail that is not there would make an index
    if concerned:
        index = EmbeddedIndex(state_dir, directory.account, open_accounts=_OPEN_ACCOUNTS)
        try:
            stored = await asyncio.gather(*(_stored(index, account) for account in concerned))
        finally:
            await index.close()
        for account, stake in zip(concerned, stored, strict=True):
            for named in _places(account):
                if named in total:
                    total[named] += stake
    return tuple(replace(action, at_stake=total.get(action.object)) for action in actions)


def _places(account: Account) -> tuple[Named, Named]:
    return Named("account", account.address.key), Named("domain", account.address.domain)


async def _stored(index: "EmbeddedIndex", account: Account) -> AtStake:
    try:
        usage = await index.usage(account.id)
    except MailError:
        return AtStake(uncounted=1)
    return AtStake(messages=usage.messages, octets=usage.octets)
