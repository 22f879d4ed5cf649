"""The file of what is derived from an account's messages, beside its index.

    mail/ACCOUNT/derived-VERSION/derived.sqlite3    the tables of `derived_tables`

A file of its own, so that filling it takes no lock that a delivery waits for, and neither fills nor syncs the log of
the index; a folder of its own, because SQLite's files beside it can only be taken away all at once, by renaming that.
Nothing of it is needed: a file that is lost, damaged, full or busy is as good as one that has nothing, which is told in
the log; a damaged one is removed, and filled anew by and by. A power cut may undo the last transactions.

Guarantees: it is open only while it is used, or was lately (`Openings`); who uses it uses the file that has the name
now. All of it blocks.
"""

import re
import secrets
import shutil
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from maillib import maillog
from maillib.embedded.derived_tables import SCHEMA
from maillib.embedded.files import DIRECTORY_MODE, os_errors
from maillib.embedded.sqlite import Database
from maillib.errors import StoreDamaged, TemporaryError
from maillib.ports.derived import VERSION

T = TypeVar("T")

FOLDER = f"derived-{VERSION}"
_FOLDERS = re.compile(r"derived-([0-9]{1,9})(\.gone-[0-9a-f]+)?", re.ASCII)
"""Of any version; the end has what is being removed, or what a crash has left of that."""

_MOST_OPEN = 64
"""In one process: three descriptors and some 300 KiB each."""

_PAGE_OCTETS = 8192
"""Texts are long: two of them to a page, and no chains of small pages."""


class DerivedFile:
    """Of one account; for several threads, one transaction at a time."""

    def __init__(self, folder: Path, openings: "Openings") -> None:
        """`folder`: the account's. Opens nothing yet."""
        self._folder = folder / FOLDER
        self.path = self._folder / "derived.sqlite3"
        self._openings = openings
        self._lock = threading.RLock()
        self._database: Database | None = None
        self._identity = _NOTHING

    def read(self, call: Callable[[sqlite3.Connection], T], *, otherwise: T) -> T:
        """The result of `call` in a snapshot; `otherwise` where nothing is kept, or nothing can be had."""

        def reading() -> T:
            if _identity(self.path) == _NOTHING:
                return otherwise
            with self._opened().read() as transaction:
                return call(transaction)

        return self._guarded(reading, otherwise)

    def write(self, call: Callable[[sqlite3.Connection], None], *, create: bool) -> None:
        """In a transaction; with `create`, in a file that is made where there is none."""

        def writing() -> None:
            if create or _identity(self.path) != _NOTHING:
                with self._opened().write() as transaction:
                    call(transaction)

        self._guarded(writing, None)

    def check(self) -> list[str]:
        """What SQLite finds wrong with it; empty: nothing. Raises Transient, StoreDamaged."""
        with self._lock:
            return self._opened().check() if _identity(self.path) != _NOTHING else []

    def remove(self) -> None:
        """From whoever else has it open, it is gone with its next use. Raises Transient."""
        with self._lock, os_errors():
            self.close()
            gone = self._folder.with_name(f"{FOLDER}.gone-{secrets.token_hex(4)}")
            with suppress(FileNotFoundError):
                self._folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)  # what stays of it goes with the next opening

    def close(self) -> None:
        """Idempotent; it is opened again by its next use."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None
                self._openings.closed(self)

    def close_if_idle(self) -> None:
        """As `close`, unless somebody uses it."""
        if self._lock.acquire(blocking=False):
            try:
                self.close()
            finally:
                self._lock.release()

    def _guarded(self, use: Callable[[], T], otherwise: T) -> T:
        try:
            with self._lock:
                return use()
        except StoreDamaged as error:
            maillog.problem(what="what was derived from an account's messages goes, and is made anew", error=str(error))
            try:
                self.remove()
            except TemporaryError as problem:
                maillog.problem(what="its file stays", error=str(problem))
        except TemporaryError as error:
            maillog.problem(what="what is derived from an account's messages is not to be had", error=str(error))
        return otherwise

    def _opened(self) -> Database:
        if self._database is not None and self._identity != _identity(self.path):
            self.close()
        if self._database is None:
            with os_errors():
                for other in self._folder.parent.glob("derived-*"):
                    match = _FOLDERS.fullmatch(other.name)
                    if match and (match[2] or int(match[1]) < VERSION):
                        shutil.rmtree(other, ignore_errors=True)
                self._folder.mkdir(DIRECTORY_MODE, exist_ok=True)
            self._database = Database(self.path, SCHEMA, durable=False, page_octets=_PAGE_OCTETS)
            self._identity = _identity(self.path)
        self._openings.used(self)
        return self._database


class Openings:
    """Which of these files a process has open: when they are too many, the one that was not used for longest goes."""

    def __init__(self, most: int = _MOST_OPEN) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._open: OrderedDict[DerivedFile, None] = OrderedDict()

    def used(self, file: DerivedFile) -> None:
        with self._lock:
            self._open[file] = None
            self._open.move_to_end(file)
            surplus = self._open.popitem(last=False)[0] if len(self._open) > self._most else None
        if surplus is not None:
            surplus.close_if_idle()

    def closed(self, file: DerivedFile) -> None:
        with self._lock:
            self._open.pop(file, None)


_NOTHING = (0, 0)


def is_folder(name: str) -> bool:
    """Of such a file, of whatever version."""
    return _FOLDERS.fullmatch(name) is not None


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = path.lstat()
    except OSError:
        return _NOTHING
    return status.st_dev, status.st_ino
