"""How much mail is at stake where a plan takes somebody's mailbox out of use."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from maillib.embedded.blobs import account_path
from maillib.errors import MailError
from maillib.ports.directory import Account, DirectoryEditor
from orchestrator.admin.ownership import AccountAction, AtStake, Named, Verb

if TYPE_CHECKING:
    from maillib.embedded.index import EmbeddedIndex

_OPEN_ACCOUNTS = 16
"""At the same time: somewhat more than there are threads."""


async def with_stakes(
    state_dir: Path, directory: DirectoryEditor, actions: Sequence[AccountAction], accounts: Sequence[Account]
) -> tuple[AccountAction, ...]:
    """`actions`, each that disables or removes an account or a domain with the mail of it."""
    losing = {action.object for action in actions if action.verb in (Verb.DISABLE, Verb.REMOVE)}
    if not losing:
        return tuple(actions)
    from maillib.embedded.index import EmbeddedIndex  # costs a plan more than the plan itself

    concerned = [
        account
        for account in accounts
        if {Named("account", account.address.key), Named("domain", account.address.domain)} & losing
    ]
    index = EmbeddedIndex(state_dir, directory.account, open_accounts=_OPEN_ACCOUNTS)
    try:
        stored = await asyncio.gather(*(_stored(state_dir, index, account) for account in concerned))
    finally:
        await index.close()
    total: dict[Named, AtStake] = {named: AtStake() for named in losing if named.kind == "domain"}
    for account, stake in zip(concerned, stored, strict=True):
        domain = Named("domain", account.address.domain)
        if domain in total:
            total[domain] += stake
        total[Named("account", account.address.key)] = stake
    return tuple(
        replace(action, at_stake=total.get(action.object)) if action.object in losing else action for action in actions
    )


async def _stored(state_dir: Path, index: "EmbeddedIndex", account: Account) -> AtStake:
    if not account_path(state_dir, account.id).exists():  # asking the index would make one
        return AtStake()
    try:
        usage = await index.usage(account.id)
    except MailError:
        return AtStake(uncounted=1)
    return AtStake(messages=usage.messages, octets=usage.octets)
