"""What an administrator does about stored mail: look whether it is whole, mend it, make an index anew.

Works beside running services, and without them; root works in the store with the rights of its owner alone. An account
in which something is wrong, or that cannot be looked at now, does not keep the others waiting.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from maillib.address import Address
from maillib.embedded.account_check import check_account, repair_account
from maillib.embedded.account_index import AccountIndex
from maillib.embedded.blobs import account_path
from maillib.embedded.open_accounts import OpenAccounts
from maillib.embedded.rebuild import Rebuilt, rebuild
from maillib.errors import MailError, NotFound, StoreDamaged
from maillib.ports.directory import Account
from maillib.settings.base import Json
from orchestrator.admin import accounts
from orchestrator.admin.owner import acting_as_owner

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Examined:
    """One account."""

    account: Account
    mended: tuple[str, ...]
    findings: tuple[str, ...]
    """What is wrong still."""


@dataclass(frozen=True, slots=True)
class Made:
    """One account whose index was to be made anew."""

    account: Account
    outcome: Rebuilt | MailError


def chosen(state_dir: Path, addresses: Sequence[Address], *, everything: bool) -> list[Account]:
    """The accounts of these addresses, or all that have mail; removed ones too, whose mail is kept. Raises NotFound."""
    found = accounts.entries(state_dir)
    known = (*found.accounts, *found.removed)
    if everything:
        return [account for account in known if account_path(state_dir, account.id).is_dir()]
    by_key = {account.address.key: account for account in known}
    for address in addresses:
        if address.key not in by_key:
            raise NotFound(f"there is no account {address}")
    return [by_key[address.key] for address in addresses]


def check(state_dir: Path, chosen: Sequence[Account]) -> Iterator[Examined]:
    """Changes nothing."""
    return _examine(state_dir, chosen, lambda index, _: [(text, False) for text in check_account(index)])


def repair(state_dir: Path, chosen: Sequence[Account]) -> Iterator[Examined]:
    """Mends what can be mended without a choice."""

    def mend(index: AccountIndex, account: Account) -> list[tuple[str, bool]]:
        return [(one.text, one.is_mended) for one in repair_account(index, str(account.address))]

    return _examine(state_dir, chosen, mend)


def remake(state_dir: Path, chosen: Sequence[Account], tell: Callable[[Account, int], None]) -> Iterator[Made]:
    """Make the indexes anew; `tell` is called with the messages that are done so far."""
    for account in chosen:
        outcome: Rebuilt | MailError
        try:
            if not account_path(state_dir, account.id).is_dir():
                raise NotFound(f"{account.address} has no mail yet")
            with acting_as_owner(state_dir / "mail"):
                outcome = rebuild(state_dir, account.id, str(account.address), tell=partial(tell, account))
        except MailError as error:
            outcome = error
        yield Made(account, outcome)


def strays(state_dir: Path) -> list[str]:
    """Folders in the store that are no account's, one sentence each."""
    found = accounts.entries(state_dir)
    known = {str(account.id) for account in (*found.accounts, *found.removed)}
    mail = state_dir / "mail"
    texts = []
    for path in sorted(mail.iterdir()) if mail.is_dir() else ():
        number, _, rest = path.name.partition(".")
        if rest == "removed":
            texts.append(
                f"{path} is of a removal that was broken off; `postroom account remove --purge` goes on with it"
            )
        elif number not in known and path.name != "loose":
            texts.append(f"{path} belongs to no account")
    return texts


def examined_as_json(examined: Examined) -> dict[str, Json]:
    findings: list[Json] = list(examined.findings)
    mended: list[Json] = list(examined.mended)
    return {"address": str(examined.account.address), "mended": mended, "findings": findings}


def made_as_json(made: Made) -> dict[str, Json]:
    rebuilt = None if isinstance(made.outcome, MailError) else made.outcome
    remarks: list[Json] = list(rebuilt.remarks) if rebuilt else []
    return {
        "address": str(made.account.address),
        "error": None if rebuilt else str(made.outcome),
        "messages": rebuilt.messages if rebuilt else None,
        "size_octets": rebuilt.octets if rebuilt else None,
        "set_aside": rebuilt.aside if rebuilt else None,
        "remarks": remarks,
    }


def _examine(
    state_dir: Path, chosen: Sequence[Account], look: Callable[[AccountIndex, Account], list[tuple[str, bool]]]
) -> Iterator[Examined]:
    for account in chosen:
        found: list[tuple[str, bool]] = []
        if account_path(state_dir, account.id).is_dir():  # to open an index would make one
            with acting_as_owner(state_dir / "mail"), closing(OpenAccounts(state_dir)) as opened:
                try:
                    with opened.use(account.id) as index:
                        found = look(index, account)
                except StoreDamaged as error:
                    found = [(f"{error}; `postroom mailbox rebuild {account.address}` makes it anew", False)]
                except MailError as error:
                    found = [(str(error), False)]
        mended, left = (tuple(text for text, is_mended in found if is_mended is which) for which in (True, False))
        yield Examined(account, mended, left)
