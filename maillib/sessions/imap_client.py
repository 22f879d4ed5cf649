"""What the commands of one IMAP session share from the log-in on: whose it is, what it has selected and enabled.

Guarantees: a keyword is announced (FLAGS) before a message is told to have it; what is told of a mailbox comes from its
view and is told once.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from maillib.dialog import Output
from maillib.ports.blobs import Blobs
from maillib.ports.directory import Account, Directory
from maillib.ports.flags import SYSTEM_FLAGS
from maillib.ports.hints import Hints
from maillib.ports.index import Index, ModSeq, Row
from maillib.protocols.imap import replies
from maillib.protocols.imap.server import ImapServer
from maillib.sessions.doorkeeper import Doorkeeper
from maillib.sessions.imap_blocks import Blocks
from maillib.sessions.imap_bodies import Bodies
from maillib.sessions.imap_derive import Deriving
from maillib.sessions.imap_folders import Furnisher
from maillib.sessions.imap_leftovers import Leftovers
from maillib.sessions.imap_news import Interest, News
from maillib.sessions.imap_replies import Bad, Refused
from maillib.sessions.imap_view import Selected
from maillib.sessions.imap_whereabouts import Whereabouts
from maillib.sessions.listing import Listings
from maillib.settings.imap import ImapSettings

LINES_AT_ONCE = 1000
"""Joined before they are sent: some fifty kilobytes, below what the connection keeps for a slow reader."""

MOST_FLAGS = 100
MOST_CHARACTERS = 200
"""Of a flag. Clients have a dozen, of twenty characters."""

MOST_KEYWORDS = 200
"""Announced of one mailbox; who has more flags than that gets to see them all the same."""


class Shared:
    """What the sessions of a process have in common."""

    def __init__(
        self, *, doorkeeper: Doorkeeper, directory: Directory, index: Index, blobs: Blobs, hints: Hints
    ) -> None:
        self.doorkeeper = doorkeeper
        self.directory = directory
        self.index = index
        self.blobs = blobs
        self.listings = Listings(index)
        self.bodies = Bodies(blobs)
        self.blocks = Blocks()
        self.whereabouts = Whereabouts(index)
        self.deriving = Deriving(index, self.bodies)
        self.news = News(hints)
        self.leftovers = Leftovers(blobs)
        self.furnisher = Furnisher(index)

    async def close(self) -> None:
        """Before the engines are closed. Idempotent."""
        await self.news.close()
        await self.leftovers.close()


def check_flags(flags: Collection[str]) -> None:
    """Raises Refused: nobody may make a message as long as its flags."""
    if len(flags) > MOST_FLAGS or any(len(flag) > MOST_CHARACTERS for flag in flags):
        raise Refused(f"at most {MOST_FLAGS} flags of {MOST_CHARACTERS} characters are taken", code="LIMIT")


@dataclass(frozen=True, slots=True)
class Done:
    """A command was served: what its tagged OK says."""

    text: str
    code: str | None = None
    has_changed: bool = False
    """The selected mailbox may have changed by it, in ways that were not told."""
    tells_modseq: bool = False
    """With CONDSTORE, up to which change that mailbox is known now. RFC 7162 §3.2.7."""


class Client:
    """One session from its log-in on."""

    def __init__(self, account: Account, shared: Shared, settings: ImapSettings, core: ImapServer) -> None:
        self.account = account
        self.shared = shared
        self.settings = settings
        self.core = core
        self.condstore = False
        """FETCH responses have MODSEQ. Whatever asks for one enables it. RFC 7162 §3.1."""
        self.qresync = False
        """VANISHED is told, not EXPUNGE. RFC 7162 §3.2."""
        self.utf8 = False
        """Names and strings may be UTF-8. RFC 6855 §3."""
        self.rev2 = False
        """SEARCH is answered by ESEARCH. RFC 9051 Appendix E."""
        self.wake: Callable[[], None] = lambda: None
        """Called when there may be news."""
        self.has_news = False
        self._selected: Selected | None = None
        self._interest: Interest | None = None
        self._keywords: set[str] = set()

    @property
    def index(self) -> Index:
        return self.shared.index

    @property
    def selected(self) -> Selected:
        """Raises Bad when no mailbox is."""
        if self._selected is None:
            raise Bad("no mailbox is selected")
        return self._selected

    @property
    def has_selected(self) -> bool:
        return self._selected is not None

    def writable(self) -> Selected:
        """The selected mailbox. Raises Refused when it was selected by EXAMINE."""
        if self.selected.read_only:
            raise Refused("the mailbox was selected read-only", code="READ-ONLY")
        return self.selected

    def select(self, selected: Selected) -> None:
        self.unselect()
        self._selected = selected
        self._interest = self.shared.news.about(self.account.id, selected.id, self._hear)

    def unselect(self) -> None:
        """Idempotent."""
        if self._interest is not None:
            self._interest.end()
        self._interest = self._selected = None
        self.has_news = False
        self._keywords.clear()

    def _hear(self, modseq: ModSeq | None) -> None:
        if self._selected is not None and (modseq is None or modseq > self._selected.modseq):
            self.has_news = True
            self.wake()

    # What is told

    async def announce(self, flags: Iterable[frozenset[str]], output: Output) -> None:
        """Keywords that are told next."""
        new = {flag for each in flags for flag in each}.difference(self._keywords, SYSTEM_FLAGS)
        if new and len(self._keywords) < MOST_KEYWORDS:
            self._keywords |= new
            await output.send(self.flags_line())

    def flags_line(self) -> bytes:
        return b"* FLAGS " + replies.flags(frozenset((*SYSTEM_FLAGS, *self._keywords))) + b"\r\n"

    async def tell_news(self, output: Output, *, expunges: bool) -> None:
        """All that is new in the selected mailbox. Raises MailboxGone, Transient, StoreUnusable."""
        selected = self.selected
        self.has_news = False
        async for update in selected.updates(expunges=expunges):
            if update.changed:
                await self.tell_flags(update.changed, output)
            if update.expunged and self.qresync:
                await output.send(replies.vanished([uid for _, uid in update.expunged], earlier=False))
            elif update.expunged:
                # From the last one down, so that the numbers of those that follow stay what they are.
                lines = [b"* %d EXPUNGE\r\n" % number for number, _ in reversed(update.expunged)]
                for start in range(0, len(lines), LINES_AT_ONCE):
                    await output.send(b"".join(lines[start : start + LINES_AT_ONCE]))
            if update.exists is not None:
                await output.send(replies.counted(update.exists, "EXISTS"))

    async def tell_flags(self, rows: Iterable[tuple[int, Row]], output: Output, *, uid: bool = True) -> None:
        """Flags as they are now; unasked for, with UIDs. RFC 9051 §7.5.2."""
        rows = list(rows)
        await self.announce({row.flags for _, row in rows}, output)
        flags = replies.flags
        for start in range(0, len(rows), LINES_AT_ONCE):
            block = rows[start : start + LINES_AT_ONCE]
            lines = [
                b"* %d FETCH (%bFLAGS %b%b)\r\n"
                % (
                    number,
                    b"UID %d " % row.uid if uid else b"",
                    flags(row.flags),
                    b" MODSEQ (%d)" % row.modseq if self.condstore else b"",
                )
                for number, row in block
            ]
            await output.send(b"".join(lines))
