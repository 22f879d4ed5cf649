"""What has to be on disk at each step of a message, checked call by call against the model of the disk.

1. *Acknowledged*: from the 250 after the end of the message on, until the message is finished, every outcome of a power
   cut leaves a whole body under `spool/messages/` and a whole envelope in one of the folders of waiting messages.
2. *Delivered*: when a body gets a name in a mailbox, its message's envelope is on disk as it reads now (an alias that
   was replaced by its targets stays replaced). When a process begins to write a commit to an account's WAL, the bodies
   that it has placed in that account's mailboxes are on disk, octets, names and all folders above them, and so is the
   name of the index; bodies that it has removed are gone. What is renamed in an account's folder is on disk before,
   octets and times; and when an index gets its name, so is everything beside it.
3. *Finished*: when the first file of a spool pair goes, the commit of each mailbox that has the body has been synced,
   the index's own names are on disk, and a notification that was queued about the message is as in 1. No power cut
   leaves an envelope without its body, accepted or not: it would look like damage.
4. *At rest*: what is deferred is on disk with its envelope, and nowhere else.
5. *Stored*: a file of which a program says `stored PATH` on its standard output is on disk.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tests.support.disk.model import Change, Disk, Entry, Inode
from tests.support.disk.strace import Call, Event

FOLDERS = ("directory", "mail", "spool")
"""Of a state directory: where everything is that must survive."""

IGNORED = ("penalties",)
"""Files in them of which nothing has to survive."""

_QUEUED = re.compile(rb"^250 .*\bqueued as ([0-9A-Za-z]+)", re.MULTILINE)
_STORED = re.compile(rb"^stored (\S+)")
_SAYING = frozenset({"write", "writev", "sendto", "sendmsg"})
_WAITING = ("incoming", "deferred", "hold")


@dataclass(eq=False, slots=True)
class Placement:
    """A body that got a name in a mailbox."""

    body: Inode
    path: str
    account: str
    process: int
    written: int | None = None
    """The line at which the commit's last write so far ended."""
    is_committed: bool = False


@dataclass
class Watch:
    """Reads the events of a trace together with `disk`, which it feeds."""

    disk: Disk
    violations: list[str] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    """Queue IDs, in the order of their 250s."""
    finished: set[str] = field(default_factory=set)
    placements: list[Placement] = field(default_factory=list)
    _ids: dict[Inode, str] = field(default_factory=dict)
    """Of bodies in the spool."""
    _removed: list[tuple[int, str, str]] = field(default_factory=list)
    """Process, account and path of bodies that were taken out of a mailbox, until the next commit."""

    def follow(self, events: Iterable[Event], seen: Callable[[Event], None] | None = None) -> None:
        """To the end of the trace, where everything is at rest. `seen` is called after each event."""
        for event in events:
            if event.when == "begin":
                self.disk.begin(event.call)
                self._begin(event.call)
            else:
                self._end(event.call)
            if seen is not None:
                seen(event)
        self._rest()

    def placed(self, queue_id: str) -> list[str]:
        """Where the body of a message is, by the names that it was given."""
        return [one.path for one in self.placements if self._ids.get(one.body) == queue_id]

    # Events

    def _begin(self, call: Call) -> None:
        target = self.disk.target(call)
        if target is None and call.name in _SAYING:
            said = call.words()
            if match := _QUEUED.search(said):
                self.acknowledged.append(match[1].decode())
                if match[1].decode() not in self.finished:  # a slow answer comes after the delivery
                    self._demand_safe(match[1].decode(), call, "at its 250")
            if match := _STORED.match(said):
                self._demand_certain(match[1].decode(), call, "when it was said to be stored")
        elif target is not None and call.name.startswith("pwrite") and (account := self._wal(target)):
            self._commit_begins(call, account)
        elif call.name in ("rename", "renameat", "renameat2", "unlink", "unlinkat"):
            self._removal_begins(call)

    def _end(self, call: Call) -> None:
        target = self.disk.target(call)
        self.disk.end(call)
        if call.result < 0:
            return
        match call.name:
            case "link" | "linkat" | "rename" | "renameat" | "renameat2":
                self._named(call)
            case "unlink" | "unlinkat":
                self._unnamed(call)
            case "pwrite64" | "pwritev" | "pwritev2" if target is not None and (account := self._wal(target)):
                process = self.disk.process(call.pid)
                for one in self.placements:
                    if (one.process, one.account) == (process, account) and not one.is_committed:
                        one.written = call.ended
            case "fsync" | "fdatasync" if target is not None and (account := self._wal(target)):
                process = self.disk.process(call.pid)
                for one in self.placements:
                    if (one.process, one.account) == (process, account) and (one.written or call.began) < call.began:
                        one.is_committed = True

    def _named(self, call: Call) -> None:
        path = PurePosixPath(self._path(call, 3 if call.name.endswith(("at", "at2")) else 1) or "")
        match path.parts:
            case ("mail", account, mailbox, _) if path.suffix == ".eml" and mailbox.isdecimal():
                body = self.disk.find(str(path))
                assert body is not None
                self.placements.append(Placement(body, str(path), account, self.disk.process(call.pid)))
                if body in self._ids:
                    self._demand_written_down(self._ids[body], call)
            case ("spool", "messages", _) if path.suffix == ".eml":
                body = self.disk.find(str(path))
                assert body is not None
                self._ids[body] = path.stem
        if path.parts[:1] == ("spool",):
            queue_id = path.name.partition(".")[0]
            self._demand_pair(queue_id, call)
            if queue_id in self._open():
                self._demand_safe(queue_id, call, f"after its {call.name} to {path.parent.name}/")

    def _unnamed(self, call: Call) -> None:
        path = PurePosixPath(self._path(call, 1 if call.name == "unlinkat" else 0) or "")
        match path.parts:
            case ("mail", account, mailbox, _) if path.suffix == ".eml" and mailbox.isdecimal():
                self._removed.append((self.disk.process(call.pid), account, str(path)))
                self.placements = [one for one in self.placements if one.path != str(path) or one.is_committed]
            case ("spool", *_):
                self._demand_pair(path.name.partition(".")[0], call)

    def _commit_begins(self, call: Call, account: str) -> None:
        process = self.disk.process(call.pid)
        self._demand_certain(f"mail/{account}/index.sqlite3", call, "at a commit", whole=False)
        for one in self.placements:
            if (one.process, one.account) == (process, account) and one.written is None:
                self._demand_certain(one.path, call, "at the commit that has it")
        for removed in self._removed:
            if removed[:2] == (process, account) and self._may_return(removed[2]):
                self._complain(call, f"{removed[2]} was removed and may be back after the next commit")
        self._removed = [one for one in self._removed if one[:2] != (process, account)]

    def _removal_begins(self, call: Call) -> None:
        """The spool pair of a message that was accepted begins to go; or something in an account's folder to move."""
        at = call.name.endswith(("at", "at2"))
        path = PurePosixPath(self._path(call, 1 if at else 0) or "")
        target = "" if call.name.startswith("unlink") else self._path(call, 3 if at else 1) or ""
        if target.startswith("mail/"):
            self._demand_whole(str(path), target, call)
        queue_id = path.name.partition(".")[0]
        ends = target.endswith(".done") and queue_id not in self.finished
        if not (ends or queue_id in self._open()) or target.endswith(".json") or path.name.endswith((".tmp", ".done")):
            return
        self.finished.add(queue_id)
        body = self.disk.find(f"spool/messages/{queue_id}.eml")
        placed = [one for one in self.placements if one.body is body]
        for one in placed:
            if not one.is_committed:
                self._complain(call, f"{queue_id} was finished before the commit of {one.path} was synced")
            for name in ("index.sqlite3", "index.sqlite3-wal"):
                if self.disk.find(f"mail/{one.account}/{name}") is not None:
                    self._demand_certain(
                        f"mail/{one.account}/{name}", call, f"when {queue_id} was finished", whole=False
                    )
        notices = {other for other in self._ids.values() if other.startswith(f"{queue_id}B")}
        for other in sorted(notices - self.finished - set(self.acknowledged)):
            self.acknowledged.append(other)
            self._demand_safe(other, call, f"when {queue_id} was finished")
        if not placed and not notices:
            self._complain(call, f"{queue_id} was finished and is nowhere")

    def _demand_whole(self, path: str, target: str, call: Call) -> None:
        inode, folder = self.disk.find(path), self.disk.find(str(PurePosixPath(target).parent))
        if inode is not None and inode.pending:
            self._complain(call, f"{target} got its name, and a power cut may take its octets")
        if target.endswith("/index.sqlite3") and folder is not None:
            for name in self.disk.listing(folder):
                if not name.endswith(".tmp"):
                    self._demand_certain(f"{PurePosixPath(target).parent}/{name}", call, "when the index got its name")

    def _rest(self) -> None:
        deferred = self.disk.find("spool/deferred")
        for change in (*self.disk.pending, *self.disk.unsettled):
            for (folder, name), _ in change.names:
                if any(one is deferred for (one, _), _ in change.names):
                    where = "/".join([*self.disk.paths_of(folder)[:1], name])
                    self.violations.append(f"at rest: what was deferred is not certain: {where}")
        for name, inode in self.disk.listing(deferred).items() if deferred is not None else ():
            if inode.pending:
                self.violations.append(f"at rest: octets of deferred/{name} are not on disk")

    # What has to hold

    def _demand_safe(self, queue_id: str, call: Call, when: str) -> None:
        for names in self.disk.outcomes(self._changes_of(queue_id)):
            if problem := self._problem(queue_id, names):
                self._complain(call, f"{queue_id}, {when}: {problem}")
                return

    def _demand_pair(self, queue_id: str, call: Call) -> None:
        for names in self.disk.outcomes(self._changes_of(queue_id)):
            body = self.disk.find(f"spool/messages/{queue_id}.eml", names)
            if (body is None or body.pending) and self._envelopes(queue_id, names):
                self._complain(call, f"{queue_id}: a power cut may leave its envelope without its body")
                return

    def _demand_written_down(self, queue_id: str, call: Call) -> None:
        """Whatever happens now, the envelope is the one that a process sees now."""
        now = self._envelopes(queue_id, self.disk.names)
        for names in self.disk.outcomes(self._changes_of(queue_id)):
            if any(one not in now for one in self._envelopes(queue_id, names)):
                self._complain(
                    call, f"{queue_id}, when it got into a mailbox: a power cut may bring its old envelope back"
                )
                return

    def _changes_of(self, queue_id: str) -> list[Change]:
        """The pending changes that concern a message."""
        return [
            change
            for change in self.disk.pending
            if any(self._matters(entry, inode, queue_id) for entry, inode in change.names)
        ]

    def _matters(self, entry: Entry, inode: Inode | None, queue_id: str) -> bool:
        """Whether a change of that name concerns the message: one of its files, or a folder."""
        name = entry[1]
        return name.partition(".")[0] == queue_id or "." not in name or (inode is not None and inode.is_directory)

    def _problem(self, queue_id: str, names: Mapping[Entry, Inode]) -> str | None:
        """What is missing of a message when these are the names on disk."""
        body = self.disk.find(f"spool/messages/{queue_id}.eml", names)
        if body is None:
            return "a power cut may take the name of its body"
        if body.pending or not body.size:
            return "a power cut may take octets of its body"
        envelopes = self._envelopes(queue_id, names)
        if not envelopes:
            return "a power cut may take the name of its envelope"
        if any(one.pending or not one.size for one in envelopes):
            return "a power cut may take octets of its envelope"
        return None

    def _envelopes(self, queue_id: str, names: Mapping[Entry, Inode]) -> list[Inode]:
        """In whatever folders of waiting messages, when these are the names."""
        folders = [self.disk.find(f"spool/{name}", names) for name in _WAITING]
        active = self.disk.find("spool/active", names)
        if active is not None:
            folders += [inode for inode in self.disk.listing(active, names).values() if inode.is_directory]
        envelopes = [names.get((folder, f"{queue_id}.json")) for folder in folders if folder is not None]
        return [one for one in envelopes if one is not None]

    def _demand_certain(self, path: str, call: Call, when: str, *, whole: bool = True) -> None:
        parts = set(PurePosixPath(path).parts)
        inode = self.disk.find(path)
        relevant = [change for change in self.disk.pending if any(entry[1] in parts for entry, _ in change.names)]
        if inode is None or any(self.disk.find(path, names) is not inode for names in self.disk.outcomes(relevant)):
            self._complain(call, f"{path}, {when}: a power cut may take its name")
        elif whole and inode.pending:
            self._complain(call, f"{path}, {when}: a power cut may take its octets")

    def _may_return(self, path: str) -> bool:
        parts = set(PurePosixPath(path).parts)
        relevant = [change for change in self.disk.pending if any(entry[1] in parts for entry, _ in change.names)]
        return any(self.disk.find(path, names) is not None for names in self.disk.outcomes(relevant))

    def _complain(self, call: Call, text: str) -> None:
        self.violations.append(f"line {call.began + 1}: {text}")

    # Names

    def _open(self) -> set[str]:
        return set(self.acknowledged) - self.finished

    def _wal(self, inode: Inode) -> str | None:
        """The account whose index's WAL it is."""
        for path in self.disk.paths_of(inode):
            match PurePosixPath(path).parts:
                case ("mail", account, "index.sqlite3-wal"):
                    return account
        return None

    def _path(self, call: Call, place: int) -> str | None:
        """A path argument, from the root; None: it is elsewhere."""
        entry = self.disk.entry(call, place)
        if entry is None:
            return None
        return "/".join([*self.disk.paths_of(entry[0])[:1], entry[1]]).lstrip("/")
