"""Hints between processes: a named pipe of each process that watches.

    STATE_DIR/hints/PID-HEX    the pipe of one process, whatever the number of its watches

Guarantees: telling costs one look at that folder where nobody watches; it never waits, so a process that does not read
loses hints; the pipe of a process that died is removed by the first that has something to tell. Who can write to the
folder can send hints, and nothing but hints: they are numbers, and only make somebody look.

A pipe and no datagram socket: it holds some thousands of hints where the kernel keeps ten datagrams, so that a burst of
deliveries does not outrun a busy reader; and its path may be long.

Leaves to others: which watch wants what (`ports.hints`).
"""

import asyncio
import errno
import os
import re
import secrets
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from maillib import maillog
from maillib.embedded.files import make_directory, os_errors
from maillib.errors import TemporaryError
from maillib.ports.directory import AccountId
from maillib.ports.hints import Hint, Watch, Watches
from maillib.ports.index import MailboxId, ModSeq

_HINT = re.compile(rb"([0-9]{1,18}) ([0-9]{1,18}) ([0-9]{1,18})\n")

_HINT_OCTETS = 64
"""More than any has."""

_PIPE_OCTETS = 64 * 1024
"""What Linux gives a pipe, and what is read from it at a time."""

_PIPE_MODE = 0o600


def publish(folder: Path, account: AccountId, mailbox: MailboxId, modseq: ModSeq) -> None:
    """As the port says; `folder` is that of `hints_folder`."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names are all that is needed
    except OSError:  # nobody has ever watched; or descriptors have run out, and a hint is lost
        return
    for name in names:
        if not name.startswith("."):
            _write(f"{folder}/{name}", b"%d %d %d\n" % (account, mailbox, modseq))


def _write(pipe: str, hint: bytes) -> None:
    try:
        fd = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nobody has its other end any more
            with suppress(OSError):
                Path(pipe).unlink()
        return
    try:
        os.write(fd, hint)  # so short a text goes in whole or not at all
    except (BlockingIOError, BrokenPipeError):
        pass  # its reader is behind, or has just gone: a hint may be lost
    finally:
        os.close(fd)


def hints_folder(state_dir: Path) -> Path:
    return state_dir / "hints"


class EmbeddedHints:
    """The Hints port; one object per process, for one event loop."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = hints_folder(state_dir)
        self._watches = Watches()
        self._pipe = self._folder / f"{os.getpid()}-{secrets.token_hex(4)}"
        self._fd = -1
        self._unfinished = b""

    def publish(self, account: AccountId, mailbox: MailboxId, modseq: ModSeq) -> None:
        publish(self._folder, account, mailbox, modseq)

    def watch(self, accounts: Collection[AccountId] | None) -> Watch:
        if self._fd < 0:
            self._listen()
        return self._watches.add(accounts)

    def _listen(self) -> None:
        """Where that is impossible no hint comes; the next watch tries again."""
        try:
            make_directory(self._folder)
            with os_errors():
                unread = self._pipe.with_name(f".{self._pipe.name}")  # nobody sees one that has no reader yet
                os.mkfifo(unread, _PIPE_MODE)
                # Also its own writer: without any it would be at its end, and readable, all the time.
                self._fd = os.open(unread, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
                unread.rename(self._pipe)
        except TemporaryError as error:
            maillog.problem(what="changes of mailboxes are seen late", error=str(error))
        else:
            asyncio.get_running_loop().add_reader(self._fd, self._read)

    def _read(self) -> None:
        try:
            octets = self._unfinished + os.read(self._fd, _PIPE_OCTETS)
        except BlockingIOError:
            return
        whole = octets.rfind(b"\n") + 1
        self._unfinished = octets[whole:][:_HINT_OCTETS]
        for found in _HINT.finditer(octets, 0, whole):
            account, mailbox, modseq = map(int, found.groups())
            self._watches.tell(Hint(AccountId(account), MailboxId(mailbox), ModSeq(modseq)))

    async def close(self) -> None:
        """Ends every watch. Idempotent."""
        self._watches.close()
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            with suppress(OSError):  # who tells next removes it
                self._pipe.unlink()
