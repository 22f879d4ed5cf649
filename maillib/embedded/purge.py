"""Removes all that the store keeps of one account, for good."""

import shutil
from pathlib import Path

from maillib.embedded.blobs import account_path
from maillib.embedded.files import os_errors, sync_directory
from maillib.ports.directory import AccountId


def purge(state_dir: Path, account: AccountId) -> None:
    """Remove the account's index and bodies. Idempotent, also after a crash on the way.

    The Directory must not know the account any more, so that nothing new is delivered. The folder is renamed first: who
    has the index open finds none of its files, instead of some. Bodies that other accounts have, too, stay theirs.
    Blocks. Raises Transient.
    """
    folder = account_path(state_dir, account)
    aside = folder.with_name(f"{folder.name}.removed")
    with os_errors():
        if aside.exists():
            shutil.rmtree(aside)
        if folder.exists():
            folder.rename(aside)
            sync_directory(folder.parent)
            shutil.rmtree(aside)
