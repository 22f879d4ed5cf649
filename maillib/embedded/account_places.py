"""Where the bodies of new messages go: to the name of the next UID that is free.

A name above all UIDs given out may be taken: by an append or copy that was broken off before its commit, which is
replaced, since whoever was at it still has the body; or, where the index is older than the mail (restored from a
backup, its -wal lost), by a message. Such a name is passed over: what stays is found by `account_check`.
"""

import os
from pathlib import Path

from maillib import maillog
from maillib.embedded.account_unfinished import Placing
from maillib.embedded.blobs import body_name
from maillib.embedded.bodies import place_body
from maillib.embedded.found_bodies import LAST_GIVEN, mailbox_folder, queued_ids, shared_inodes
from maillib.errors import StoreUnusable
from maillib.ports.index import MailboxId, Uid


class Places:
    """Of one account. The write lock is held."""

    def __init__(self, folder: Path, placing: Placing) -> None:
        """`folder`: the account's."""
        self._folder = folder
        self._placing = placing
        self.taken: list[str] = []
        """The files that were placed."""

    def place(
        self,
        source: str,
        status: os.stat_result,
        mailbox: MailboxId,
        uid: Uid,
        date_s: int,
        *,
        is_spooled: bool = False,
    ) -> Uid:
        """Give a body the name of `uid` in the mailbox, or of a later one; which.

        Raises StoreUnusable when no UID is left: what had one beyond could not be asked for. As `place_body` otherwise.
        """
        while True:
            if uid > LAST_GIVEN:
                raise StoreUnusable(f"{self._folder}/{mailbox}: {uid} would be the next UID, {LAST_GIVEN} is the last")
            target = f"{self._folder}/{mailbox}/{body_name(uid)}"
            if not is_spooled and not os.path.lexists(target):
                self._placing.note(mailbox, uid, target)
            try:
                place_body(source, status, target, date_s)
            except FileExistsError:
                if self._is_broken_off(Path(target)):
                    Path(target).unlink()
                else:
                    what = f"{target} is kept: `postroom mailbox repair` makes a message of it"
                    maillog.problem(what=what, error="the index is older than this body")
                    uid = Uid(uid + 1)
            else:
                self.taken.append(target)
                return uid

    def _is_broken_off(self, path: Path) -> bool:
        state_dir = self._folder.parents[1]
        with mailbox_folder(path.parent) as folder:
            body = folder.body(path.name, "")
        if body is None:
            return False
        if body.queue_id in queued_ids(state_dir):
            return True
        return path.lstat().st_nlink > 1 and body.inode in shared_inodes(state_dir, self._folder, but=path)
