"""What lies beside an account's index, so that an index that is lost or damaged can be made again as it was.

    mail/ACCOUNT/mailboxes.json   the account's mailboxes and subscriptions; replaced, durably, when they change
    mail/ACCOUNT/flags.log        a line for each change of flags and each expunge

Everything else is in the bodies and their names (`rebuild`), so that a delivery writes neither of the two.

mailboxes.json is written under the index's write lock, before the commit: it may be ahead of an index whose process
died in between, never behind.

flags.log is appended to after the commit and not synced: a process that is killed loses nothing of it, a power cut what
the kernel had not written back, which is at most a minute. Lines of different processes come in any order; of several
about one message that with the highest MODSEQ counts. A line is `CRC MAILBOX MODSEQ WHAT …` with a line end on both
sides, so that one that was cut short, or a block that was never written, spoils no other. Once large, the file is
replaced by what the index holds.

Leaves to others: the index (`account_index`); all of it blocks.
"""

import fcntl
import json
import os
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from maillib import maillog
from maillib.embedded.files import FILE_MODE, os_errors, sync_directory, write_all
from maillib.errors import MailError, StoreUnusable
from maillib.ports.index import MailboxId, ModSeq, Uid, UidValidity

VERSION = 1

MAX_LIST_OCTETS = 64 * 1024 * 1024
"""Of mailboxes.json: more than a hundred thousand mailboxes need. A larger file is not ours."""

_LAST_UID_VALIDITY = 2**32 - 1
"""RFC 9051 §2.3.1.1."""

COMPACT_OCTETS = 1024 * 1024
"""A flags.log is left alone up to this size; reading so much takes some milliseconds, and only a rebuild does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedMailbox:
    id: MailboxId
    name: str
    uid_validity: UidValidity
    special_use: str | None = None
    """`\\Sent` and the like; RFC 6154 §2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxList:
    """What mailboxes.json says."""

    last_uid_validity: UidValidity
    """The last one given out, also to a mailbox that is gone."""
    last_mailbox: MailboxId
    """The same for their numbers."""
    mailboxes: tuple[ListedMailbox, ...]
    subscriptions: tuple[str, ...] = ()
    """Names, also of mailboxes that are not there. RFC 9051 §6.3.7."""


@dataclass(frozen=True, slots=True)
class Flagged:
    """These messages have exactly these flags as of `modseq`."""

    mailbox: MailboxId
    modseq: ModSeq
    uids: Collection[Uid]
    flags: frozenset[str]


@dataclass(frozen=True, slots=True)
class Gone:
    """These messages were expunged; a file of theirs is a leftover."""

    mailbox: MailboxId
    modseq: ModSeq
    uids: Collection[Uid]


@dataclass(frozen=True, slots=True)
class Issued:
    """Every UID below `uid_next` has been given out."""

    mailbox: MailboxId
    modseq: ModSeq
    uid_next: Uid


Note = Flagged | Gone | Issued


class Noted:
    """What flags.log says of one mailbox, all lines together."""

    def __init__(self) -> None:
        self.flags: dict[Uid, tuple[ModSeq, frozenset[str]]] = {}
        """A message without an entry has no flags."""
        self.gone: set[Uid] = set()
        self.uid_next = Uid(1)
        """Above every UID that is named."""
        self.modseq = ModSeq(0)
        """The highest that is named."""

    def add(self, note: Note) -> None:
        self.modseq = max(self.modseq, note.modseq)
        match note:
            case Issued(uid_next=uid_next):
                self.uid_next = max(self.uid_next, uid_next)
                return
            case Gone(uids=uids):
                self.gone.update(uids)
            case Flagged(uids=uids, flags=flags):
                for uid in uids:
                    if uid not in self.flags or self.flags[uid][0] <= note.modseq:
                        self.flags[uid] = (note.modseq, flags)
        self.uid_next = max(self.uid_next, Uid(max(uids, default=0) + 1))


class Sidecar:
    """The two files of one account. Any thread may call it."""

    def __init__(self, folder: Path) -> None:
        """`folder`: the account's. Touches no file."""
        self._folder = folder
        self._list = folder / "mailboxes.json"
        self._log = folder / "flags.log"
        self._compact_above = COMPACT_OCTETS
        self._is_behind = False
        """Something could not be noted."""

    # mailboxes.json

    def write_mailboxes(self, mailboxes: MailboxList) -> None:
        """Replace the list; durable on return. Under the index's write lock, before the commit. Raises StoreFull,
        Transient.
        """
        text = json.dumps({"version": VERSION, **asdict(mailboxes)}, indent=1, ensure_ascii=False)
        with os_errors():
            _replace(self._list, [text.encode("utf-8", "surrogatepass"), b"\n"])

    def has_mailboxes(self) -> bool:
        """Whether there is a list, whatever is in it."""
        return os.path.lexists(self._list)

    def read_mailboxes(self) -> MailboxList | None:
        """None: there is no list. Raises StoreUnusable for one that cannot be understood, Transient."""
        try:
            with os_errors(), suppress(FileNotFoundError):
                fd = os.open(self._list, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                with open(fd, "rb") as file:
                    return _as_list(file.read(MAX_LIST_OCTETS))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise StoreUnusable(f"{self._list} is damaged: {error!r}") from None
        return None

    # flags.log

    def note(self, notes: Sequence[Note], everything: Callable[[], Iterable[Note]]) -> None:
        """Append what has just been committed; never raises, since the change is made: a failure is logged, and made
        good by the next call.

        `everything` tells all that the index holds now, for the case that the file is to be replaced: it opens a
        transaction of its own, so the caller has none.
        """
        try:
            with os_errors(), self._locked(fcntl.LOCK_SH) as fd:
                write_all(fd, b"".join(map(_line, notes)))
                size = os.fstat(fd).st_size
            if self._is_behind or size > self._compact_above:
                self.rewrite(everything)
        except MailError as error:
            self._is_behind = True
            maillog.problem(
                what=f"{self._log}: a rebuild of the index would not know of the last changes", error=str(error)
            )

    def rewrite(self, everything: Callable[[], Iterable[Note]]) -> None:
        """Replace the log by what `everything` tells; durable on return. Raises StoreFull, Transient, what it raises.

        It is asked under the file's lock. What somebody has committed and not noted yet is in it, and is noted once
        more in the new file.
        """
        with os_errors(), self._locked(fcntl.LOCK_EX):
            size = _replace(self._log, map(_line, everything()))
        self._compact_above = max(COMPACT_OCTETS, 2 * size)
        self._is_behind = False

    def has_notes(self) -> bool:
        """Whether there is a log, whatever is in it."""
        return os.path.lexists(self._log)

    def read_notes(self) -> dict[MailboxId, Noted]:
        """By mailbox. Lines that are damaged are passed over. Raises Transient."""
        found: dict[MailboxId, Noted] = {}
        with os_errors(), suppress(FileNotFoundError):
            fd = os.open(self._log, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(fd, "rb") as lines:
                for line in lines:
                    note = _note(line)
                    if note is not None:
                        found.setdefault(note.mailbox, Noted()).add(note)
        return found

    @contextmanager
    def _locked(self, how: int) -> Iterator[int]:
        """The log, open for appending, and the one that has the name now. Raises OSError."""
        while True:
            fd = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
            try:
                fcntl.flock(fd, how)
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(fd), self._log.lstat()):
                        yield fd
                        return
            finally:
                os.close(fd)


def _replace(path: Path, parts: Iterable[bytes]) -> int:
    """Give `path` this content, durably; how many octets. Whoever does so holds a lock. Raises OSError."""
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.unlink(missing_ok=True)  # of a crash
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        for part in parts:
            write_all(fd, part)
        os.fsync(fd)
        size = os.fstat(fd).st_size
        unfinished.rename(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    sync_directory(path.parent)
    return size


def _as_list(octets: bytes) -> MailboxList:
    """Raises ValueError, TypeError, KeyError, RecursionError."""
    data = json.loads(octets)
    if data["version"] != VERSION:
        raise ValueError(f"version {data['version']!r}; this program knows {VERSION}")
    listed = MailboxList(
        last_uid_validity=UidValidity(_number(data, "last_uid_validity", least=0, most=_LAST_UID_VALIDITY)),
        last_mailbox=MailboxId(_number(data, "last_mailbox", least=0)),
        mailboxes=tuple(
            ListedMailbox(
                id=MailboxId(_number(one, "id")),
                name=_text(one["name"]),
                uid_validity=UidValidity(_number(one, "uid_validity", most=_LAST_UID_VALIDITY)),
                special_use=None if one["special_use"] is None else _text(one["special_use"]),
            )
            for one in data["mailboxes"]
        ),
        subscriptions=tuple(map(_text, data["subscriptions"])),
    )
    for values in ([one.id for one in listed.mailboxes], [one.name for one in listed.mailboxes]):
        if len(set(values)) < len(values):
            raise ValueError("a mailbox is listed twice")
    return listed


def _number(data: Mapping[str, int], key: str, *, least: int = 1, most: int = 2**63 - 1) -> int:
    """Raises ValueError, TypeError, KeyError."""
    value = int(data[key])
    if not least <= value <= most:
        raise ValueError(f"{key} is {value}")
    return value


def _text(value: object) -> str:
    """Raises ValueError for what is no text in UTF-8: a lone surrogate."""
    text = str(value)
    text.encode()
    return text


def _line(note: Note) -> bytes:
    match note:
        case Flagged(mailbox, modseq, uids, flags):
            text = " ".join((f"{mailbox} {modseq} flags {_uid_set(uids)}", *sorted(flags)))
        case Gone(mailbox, modseq, uids):
            text = f"{mailbox} {modseq} gone {_uid_set(uids)}"
        case Issued(mailbox, modseq, uid_next):
            text = f"{mailbox} {modseq} next {uid_next}"
    octets = text.encode()
    return b"\n%08x %b\n" % (zlib.crc32(octets), octets)


def _note(line: bytes) -> Note | None:
    """None: nothing that a `_line` has made."""
    checksum, _, octets = line.strip(b"\n").partition(b" ")
    if checksum != b"%08x" % zlib.crc32(octets):
        return None
    mailbox, modseq, what, subject, *flags = octets.decode().split(" ")
    box, seq = MailboxId(int(mailbox)), ModSeq(int(modseq))
    match what:
        case "flags":
            return Flagged(box, seq, _uids(subject), frozenset(flags))
        case "gone":
            return Gone(box, seq, _uids(subject))
        case "next":
            return Issued(box, seq, Uid(int(subject)))
    return None  # of a later version


def _uid_set(uids: Collection[Uid]) -> str:
    """`3:5,9`, as in IMAP. RFC 9051 §9, sequence-set."""
    ranges: list[list[int]] = []
    for uid in sorted(uids):
        if ranges and uid <= ranges[-1][1] + 1:
            ranges[-1][1] = uid
        else:
            ranges.append([uid, uid])
    return ",".join(f"{first}:{last}" if last > first else f"{first}" for first, last in ranges)


def _uids(text: str) -> list[Uid]:
    found: list[Uid] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition(":")
        found += map(Uid, range(int(first), int(last or first) + 1))
    return found
