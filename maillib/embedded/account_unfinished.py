"""What an append or copy that dies before its commit leaves behind, written down before it is made.

    mail/ACCOUNT/placing-PID-HEX    a line `MAILBOX UID` for each body that is being given that name

Without it nobody could tell such a body, once the one that it is a name of has gone, from a message that an index older
than the mail does not know. Bodies out of the spool need none: the spool has them until they are delivered.

Guarantees: only a name that was free is written down, so nothing that was there before is ever removed; what is removed
has a UID that was not given out. A power cut may lose the note; then `check` names the body.
"""

import os
import secrets
import sqlite3
from contextlib import suppress
from pathlib import Path

from maillib.embedded.blobs import body_name
from maillib.embedded.files import FILE_MODE, os_errors
from maillib.embedded.sqlite import Database
from maillib.ports.index import MailboxId, Uid

PREFIX = "placing-"


class Placing:
    """The note of one transaction; written with the first body."""

    __slots__ = ("_fd", "_folder", "_path", "_placed")

    def __init__(self, folder: Path) -> None:
        """`folder`: the account's."""
        self._folder = folder
        self._path = ""
        self._fd = -1
        self._placed: list[str] = []

    def note(self, mailbox: MailboxId, uid: Uid, target: str) -> None:
        """`target`: the file. Raises OSError."""
        if self._fd < 0:
            self._path = f"{self._folder}/{PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        os.write(self._fd, b"%d %d\n" % (mailbox, uid))
        self._placed.append(target)

    def close(self, *, is_committed: bool) -> None:
        """The transaction has ended. Where files of one that has failed are left, so is the note. Idempotent."""
        if self._fd < 0:
            return
        os.close(self._fd)
        self._fd = -1
        if is_committed or not any(map(os.path.lexists, self._placed)):
            with suppress(OSError):  # what stays is taken away by the next opening
                os.unlink(self._path)  # noqa: PTH108 - a Path costs more than the call


def remove_broken_off(folder: Path, database: Database) -> None:
    """Remove bodies whose transaction has died, and its note. `folder`: the account's. Raises Transient.

    Within a write transaction: whoever else has written a note has committed, or will not any more.
    """
    if not _notes(folder):
        return
    with database.write() as transaction, os_errors():
        for note in _notes(folder):
            with suppress(FileNotFoundError):  # its owner has taken it away meanwhile
                for line in note.read_text().splitlines():
                    _remove(folder, transaction, line)
                note.unlink()


def _notes(folder: Path) -> list[Path]:
    with os_errors():
        return [folder / name for name in os.listdir(folder) if name.startswith(PREFIX)]  # noqa: PTH208


def _remove(folder: Path, transaction: sqlite3.Connection, line: str) -> None:
    mailbox, _, uid = line.partition(" ")
    if not (mailbox.isdecimal() and uid.isdecimal()):
        return  # cut off in the middle
    found = transaction.execute("SELECT uid_next FROM mailbox WHERE id = ?", (int(mailbox),)).fetchone()
    if found is not None and int(uid) >= found[0]:
        (folder / mailbox / body_name(Uid(int(uid)))).unlink(missing_ok=True)
