"""Declared accounts that a person has removed since they were applied: the next apply makes them again.

Reads what the directory remembers of the declaration, not the declaration: no file, no secret, no validation.
"""

from pathlib import Path

from orchestrator.admin.accounts import entries
from orchestrator.admin.entries import named_entries
from orchestrator.admin.ownership import AccountAction, plan_accounts
from orchestrator.admin.record import Record


def undone(state_dir: Path) -> tuple[AccountAction, ...]:
    """What an apply of the same declaration would do. Raises MailError when the directory cannot be read."""
    found = entries(state_dir)
    applied = Record.parse(found.declared).applied
    live = {named: entry.fields for named, entry in named_entries(found, {}).items()}
    return tuple(action for action in plan_accounts(applied.objects, applied, live) if action.is_change)
