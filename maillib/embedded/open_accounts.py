"""Which accounts' indexes are open in this process.

Guarantees: at most so many are open and idle. Those that are used again and again stay so; of an account that comes
when all places are taken its next use decides, so that a mailing to more accounts than there are places does not close
each one just before its turn. Who uses an index uses the one that has the name now: a file that was replaced or lost
meanwhile is noticed before each use, under the account's lock (`account_lock`). Where an index was lost none is made
in its place: UIDs would be given out twice, and bodies be taken for rubbish. For several threads.
"""

import itertools
import os
import random
import resource
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maillib.embedded import account_notes
from maillib.embedded.account_index import AccountIndex, Terms
from maillib.embedded.account_lock import AccountLock
from maillib.embedded.blobs import account_path
from maillib.embedded.files import DIRECTORY_MODE, os_errors
from maillib.embedded.sidecar import Sidecar
from maillib.errors import StoreDamaged
from maillib.ports.directory import AccountId

_DESCRIPTORS = 3
"""Of an open database: itself, `-wal`, `-shm`."""

_OTHER_DESCRIPTORS = 768
"""Left for connections, of which a service has 500 unless told otherwise, bodies and the rest."""

_FEWEST, _MOST = 16, 1024
"""An open database takes some 150 KiB. Opening and closing one costs as much as three deliveries."""

_STAYS = 1 / 32
"""The share of those that come when all places are taken which get a place at once: what is used changes, if slowly."""


def affordable() -> int:
    """How many accounts may stay open, by this process's limit of descriptors."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return _MOST
    return min(max((limit - _OTHER_DESCRIPTORS) // _DESCRIPTORS, _FEWEST), _MOST)


class OpenAccounts:
    def __init__(self, state_dir: Path, terms: Terms | None = None, *, most: int | None = None) -> None:
        """`most` accounts are kept open; None: as many as are `affordable`."""
        self._state_dir = state_dir
        self._terms = terms or Terms()
        self._most = most or affordable()
        self._lock = threading.Lock()
        self._slots: OrderedDict[AccountId, _Slot] = OrderedDict()
        """Who goes next is first."""

    @contextmanager
    def use(self, account: AccountId) -> Iterator[AccountIndex]:
        """The account's index, made where there was none, which stays open at least as long as the block runs.

        Raises StoreDamaged (lost or damaged), StoreUnusable, StoreFull, Transient (being rebuilt).
        """
        with self._lock:
            slot = self._slots.get(account)
            if slot is None:
                slot = self._slots[account] = _Slot(self._state_dir, account, self._terms)
                slot.is_guest = len(self._slots) > self._most and random.random() >= _STAYS  # noqa: S311 - no secret
            else:
                slot.is_guest = False
                self._slots.move_to_end(account)
            slot.users += 1
        try:
            opened = slot.enter()
            try:
                yield opened.index
            finally:
                slot.leave(opened)
        finally:
            with self._lock:
                slot.users -= 1
                if slot.is_guest and self._slots.get(account) is slot:
                    self._slots.move_to_end(account, last=False)
                surplus = self._take_surplus()
            for idle in surplus:
                idle.close()

    def _take_surplus(self) -> list["_Slot"]:
        """Slots over the limit that nobody uses, no longer listed: closing them is the caller's, outside the lock."""
        surplus = len(self._slots) - self._most
        if surplus <= 0:
            return []
        idle = (account for account, slot in self._slots.items() if slot.users == 0)
        return [self._slots.pop(account) for account in list(itertools.islice(idle, surplus))]

    def close(self) -> None:
        while self._slots:
            self._slots.popitem()[1].close()


class _Slot:
    """An account in use or kept open."""

    def __init__(self, state_dir: Path, account: AccountId, terms: Terms) -> None:
        self._state_dir = state_dir
        self._account = account
        self._terms = terms
        self._entering = threading.Lock()
        """Of two threads that want a new account, one opens it; users of other accounts are not held up."""
        self._opened: _Opened | None = None
        self.users = 0
        self.is_guest = False
        """It goes first, unless it is used again. Both are kept by `OpenAccounts`, under its lock."""

    def enter(self) -> "_Opened":
        """What is open, with one more user. Raises as `OpenAccounts.use`."""
        with self._entering:
            opened = self._opened
            if opened is None or not opened.add_user():
                self._forget()
                opened = self._opened = _Opened(self._state_dir, self._account, self._terms)
            return opened

    def leave(self, opened: "_Opened") -> None:
        with self._entering:
            opened.remove_user()
            if opened.users == 0 and opened is not self._opened:
                opened.close()

    def _forget(self) -> None:
        """Who still uses it closes it."""
        opened, self._opened = self._opened, None
        if opened is not None and opened.users == 0:
            opened.close()

    def close(self) -> None:
        with self._entering:
            self._forget()


class _Opened:
    """One opening of the index. Its users are counted: they share one lock."""

    def __init__(self, state_dir: Path, account: AccountId, terms: Terms) -> None:
        """With one user. Raises as `OpenAccounts.use`."""
        folder = account_path(state_dir, account)
        file = folder / "index.sqlite3"
        self._file = str(file)
        """Looked at before each use: a Path costs more than the call."""
        with os_errors():
            folder.mkdir(DIRECTORY_MODE, exist_ok=True)
        self._lock = AccountLock(folder)
        try:
            self._lock.share()
            _refuse_lost(file)
            self.index = AccountIndex(state_dir, account, terms)
        except BaseException:
            self._lock.release()
            raise
        try:
            sidecar = Sidecar(folder)
            if not sidecar.has_mailboxes():
                account_notes.begin(self.index.database, sidecar)
        except BaseException:
            self.close()
            raise
        self._identity = _identity(self._file)
        self.users = 1

    def add_user(self) -> bool:
        """False: this is not the account's index any more. Raises Transient."""
        if self.users == 0:
            self._lock.share()
        self.users += 1
        if self._identity == _identity(self._file) != _NO_FILE:
            return True
        self.remove_user()
        return False

    def remove_user(self) -> None:
        self.users -= 1
        if self.users == 0:
            self._lock.release()

    def close(self) -> None:
        self.index.close()
        self._lock.release()


_NO_FILE = (0, 0)


def _identity(file: str) -> tuple[int, int]:
    """Device and inode: no other file has them as long as this one is open."""
    try:
        status = os.lstat(file)
    except OSError:
        return _NO_FILE
    return (status.st_dev, status.st_ino) if status.st_size else _NO_FILE


def _refuse_lost(file: Path) -> None:
    """Raise StoreDamaged where an index has been. `file` is made before all that is asked for here."""
    with os_errors():
        if _has_octets(file) or not _is_used(file.parent) or _has_octets(file):  # made by another process meanwhile
            return
    raise StoreDamaged(f"{file} is lost")


def _has_octets(file: Path) -> bool:
    try:
        return file.lstat().st_size > 0
    except FileNotFoundError:
        return False


def _is_used(folder: Path) -> bool:
    """Whether there is mail, or has been."""
    if os.path.lexists(folder / "flags.log"):
        return True
    return any(next(mailbox.glob("*.eml"), None) for mailbox in folder.iterdir() if mailbox.name.isdecimal())
