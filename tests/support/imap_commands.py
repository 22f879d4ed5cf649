"""IMAP commands as a client writes them, and any of them: for properties and fuzzing."""

from collections.abc import Callable
from datetime import date
from typing import Any

from hypothesis import strategies as st

from maillib.message.sections import Partial, Section, What
from maillib.protocols.imap import commands as c
from maillib.protocols.imap import names
from maillib.protocols.imap import search_keys as k
from maillib.protocols.imap.arguments import LARGEST_NUMBER64, MONTHS
from maillib.protocols.imap.fetch_items import Binary, BinarySize, BodySection, FetchItem, Item, Preview
from maillib.protocols.imap.parse_fetch import section_name
from maillib.protocols.imap.quoting import astring, literal, string
from maillib.protocols.imap.sequences import LARGEST, STAR, Saved, SequenceSet

Strings = Callable[[bytes], bytes]
"""How strings are written."""


def non_synchronizing(text: bytes) -> bytes:
    """A literal the client does not wait for. RFC 7888 §4."""
    return b"{%d+}\r\n" % len(text) + text


def shortest(text: bytes) -> bytes:
    """An atom where possible."""
    return astring(text.decode()) if _is_utf8(text) else string(text)


STRINGS: tuple[Strings, ...] = (shortest, string, literal, non_synchronizing)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


class Written:
    """One command as octets, without tag and line end."""

    def __init__(self, strings: Strings = shortest, *, utf8_names: bool = False) -> None:
        self._strings = strings
        self._utf8_names = utf8_names

    def text(self, text: str) -> bytes:
        return self._strings(text.encode())

    def mailbox(self, name: str) -> bytes:
        return self._strings(names.encode(name, utf8=self._utf8_names))

    def command(self, command: c.Command) -> bytes:
        prefix = b"UID " if getattr(command, "uid", False) else b""
        return prefix + self._command(command)

    def _command(self, command: c.Command) -> bytes:
        match command:
            case c.Plain():
                return command.value.encode()
            case c.Login(name, password):
                return b"LOGIN %b %b" % (self.text(name), self.text(password))
            case c.Enable(words):
                return f"ENABLE {' '.join(words)}".encode()
            case c.Id(fields):
                said = b" ".join(
                    string(name.encode()) + b" " + (b"NIL" if value is None else string(value.encode()))
                    for name, value in fields
                )
                return b"ID (%b)" % said
            case c.Compress(mechanism):
                return f"COMPRESS {mechanism}".encode()
            case c.Select():
                return self._select(command)
            case c.Create(mailbox, uses):
                use = f" (USE ({' '.join(uses)}))".encode() if uses else b""
                return b"CREATE " + self.mailbox(mailbox) + use
            case c.Rename(mailbox, new):
                return b"RENAME %b %b" % (self.mailbox(mailbox), self.mailbox(new))
            case c.Delete(mailbox) | c.Subscribe(mailbox) | c.Unsubscribe(mailbox) | c.GetQuotaRoot(mailbox):
                return type(command).__name__.upper().encode() + b" " + self.mailbox(mailbox)
            case c.Status(mailbox, items):
                return b"STATUS %b (%b)" % (self.mailbox(mailbox), _values(items))
            case c.List():
                return self._list(command)
            case c.Lsub(reference, pattern):
                return b"LSUB %b %b" % (self.mailbox(reference), self.mailbox(pattern))
            case c.GetQuota(root):
                return b"GETQUOTA " + self.text(root)
            case c.SetQuota(root, limits):
                pairs = " ".join(f"{name} {limit}" for name, limit in limits).encode()
                return b"SETQUOTA %b (%b)" % (self.text(root), pairs)
            case c.Fetch():
                return self._fetch(command)
            case c.Store():
                condition = "" if command.unchanged_since is None else f" (UNCHANGEDSINCE {command.unchanged_since})"
                how = command.how.replace("=", "") + ("FLAGS.SILENT" if command.silent else "FLAGS")
                return f"STORE {command.messages}{condition} {how} ({' '.join(command.flags)})".encode()
            case c.Copy(messages, mailbox) | c.Move(messages, mailbox):
                verb = type(command).__name__.upper()
                return f"{verb} {messages} ".encode() + self.mailbox(mailbox)
            case c.Expunge(uids):
                return b"EXPUNGE" if uids is None else f"UID EXPUNGE {uids}".encode()
            case c.Search():
                returns = (
                    b"" if command.returns is None else b" RETURN (%b)" % _values(sorted_by_value(command.returns))
                )
                return b"SEARCH" + returns + b" " + self.top_key(command.key)
            case c.Sort(by, key):
                order = " ".join(("REVERSE " if one.reverse else "") + one.key.value for one in by)
                return f"SORT ({order}) UTF-8 ".encode() + self.top_key(key)
            case c.Thread(algorithm, key):
                return b"THREAD %b UTF-8 %b" % (algorithm.value.encode(), self.top_key(key))
            case c.Authenticate():
                raise AssertionError("not written here")

    def _select(self, command: c.Select) -> bytes:
        parameters = [b"CONDSTORE"] if command.condstore else []
        if (q := command.qresync) is not None:
            words = [str(q.uid_validity), str(q.modseq)]
            if q.known_uids is not None:
                words.append(str(q.known_uids))
            if q.match_numbers is not None:
                words.append(f"({q.match_numbers} {q.match_uids})")
            parameters.append(f"QRESYNC ({' '.join(words)})".encode())
        name = b"EXAMINE " if command.read_only else b"SELECT "
        return name + self.mailbox(command.mailbox) + (b" (" + b" ".join(parameters) + b")" if parameters else b"")

    def _list(self, command: c.List) -> bytes:
        words = [b"LIST"]
        if command.selection or command.extended:
            words.append(b"(" + _values(sorted_by_value(command.selection)) + b")")
        words.append(self.mailbox(command.reference))
        patterns = b" ".join(map(self.mailbox, command.patterns))
        words.append(b"(" + patterns + b")" if command.extended else patterns)
        if command.extended:
            returns = [word.value.encode() for word in sorted_by_value(command.returns)]
            if command.status:
                returns.append(b"STATUS (" + _values(command.status) + b")")
            words.append(b"RETURN (" + b" ".join(returns) + b")")
        return b" ".join(words)

    def _fetch(self, command: c.Fetch) -> bytes:
        modifiers = []
        if command.changed_since is not None:
            modifiers.append(f"CHANGEDSINCE {command.changed_since}")
        if command.vanished:
            modifiers.append("VANISHED")
        items = b" ".join(map(fetch_item, command.items))
        end = f" ({' '.join(modifiers)})".encode() if modifiers else b""
        return b"FETCH %b (%b)%b" % (str(command.messages).encode(), items, end)

    # Search keys

    def top_key(self, key: k.Key) -> bytes:
        return b" ".join(map(self.key, key.keys)) if isinstance(key, k.And) else self.key(key)

    def key(self, key: k.Key) -> bytes:
        match key:
            case k.All():
                return b"ALL"
            case k.Recent():
                return b"RECENT"
            case k.Flag(flag):
                return flag[1:].upper().encode() if flag.startswith("\\") else b"KEYWORD " + flag.encode()
            case k.Header(field, text):
                return b"HEADER %b %b" % (self.text(field), self.text(text))
            case k.Body(text):
                return b"BODY " + self.text(text)
            case k.Text(text):
                return b"TEXT " + self.text(text)
            case k.Dated(what, when, day):
                return f"{what.value}{when.value} {day.day}-{MONTHS[day.month - 1]}-{day.year:04}".encode()
            case k.Larger(number) | k.Smaller(number) | k.Older(number) | k.Younger(number):
                return f"{type(key).__name__.upper()} {number}".encode()
            case k.Numbers(messages, uid):
                return (b"UID " if uid else b"") + str(messages).encode()
            case k.ModSeqFrom(modseq):
                return b"MODSEQ %d" % modseq
            case k.Not(inner):
                return b"NOT " + self.key(inner)
            case k.Or(either, other):
                return b"OR %b %b" % (self.key(either), self.key(other))
            case k.And(keys):
                return b"(" + b" ".join(map(self.key, keys)) + b")"


def fetch_item(item: FetchItem) -> bytes:
    match item:
        case Item():
            return item.value
        case Preview(lazy):
            return b"PREVIEW (LAZY)" if lazy else b"PREVIEW"
        case BinarySize():
            return item.name
        case BodySection() if not item.name.startswith(b"BODY["):
            return item.name
        case BodySection(section, partial, peek):
            return (b"BODY.PEEK[" if peek else b"BODY[") + section_name(section) + b"]" + _partial(partial)
        case Binary(part, partial, peek):
            return (b"BINARY.PEEK[" if peek else b"BINARY[") + section_name(Section(part)) + b"]" + _partial(partial)


def _partial(partial: Partial | None) -> bytes:
    return b"" if partial is None else b"<%d.%d>" % partial


def sorted_by_value(words: Any) -> list[Any]:
    return sorted(words, key=lambda word: word.value)


def _values(words: Any) -> bytes:
    return " ".join(word.value for word in words).encode()


# Any command

_ATOM_CHARACTERS = "abcXYZ019!#$&'-./:;<=>?@^_`|}~["
atoms = st.text(_ATOM_CHARACTERS, min_size=1, max_size=8)
keywords = atoms.filter(lambda text: text.upper() != "NIL")
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
mailboxes = texts
numbers = st.integers(1, LARGEST)
numbers64 = st.integers(0, LARGEST_NUMBER64)
ends = st.one_of(numbers, st.just(STAR))
sequence_sets = st.lists(st.one_of(st.tuples(ends, ends), ends.map(lambda n: (n, n))), min_size=1, max_size=5).map(
    lambda intervals: SequenceSet(tuple(intervals))
)
messages = st.one_of(sequence_sets, st.just(Saved.RESULT))


@st.composite
def ascending_sets(draw: st.DrawFn, size: int | None = None) -> SequenceSet:
    """Without `*`; `size`: of so many numbers."""
    count = size or draw(st.integers(1, 6))
    found = sorted(draw(st.sets(st.integers(1, 50), min_size=count, max_size=count)))
    return SequenceSet(tuple((number, number) for number in found))


@st.composite
def qresyncs(draw: st.DrawFn) -> c.Qresync:
    known = draw(st.none() | ascending_sets())
    size = draw(st.integers(0, 4))
    matches = (draw(ascending_sets(size)), draw(ascending_sets(size))) if size else (None, None)
    return c.Qresync(draw(numbers), draw(numbers64), known, *matches)


def _section(part: tuple[int, ...], what: What, fields: list[str]) -> Section:
    if what in (What.FIELDS, What.FIELDS_NOT):
        return Section(part, what, tuple(fields))
    return Section(part or ((1,) if what is What.MIME else ()), what)


parts = st.lists(st.integers(1, 20), max_size=3).map(tuple)
field_names = st.text('abcXYZ- "\\(', min_size=1, max_size=8)
sections = st.builds(_section, parts, st.sampled_from(What), st.lists(field_names, min_size=1, max_size=3))
partials = st.none() | st.builds(Partial, numbers64, st.integers(1, LARGEST_NUMBER64))


def _origin(partial: Partial | None) -> bytes:
    return b"" if partial is None else b"<%d>" % partial.offset


fetch_items: st.SearchStrategy[FetchItem] = st.one_of(
    st.sampled_from(Item),
    st.booleans().map(Preview),
    st.builds(
        lambda section, partial, peek: BodySection(
            section, partial, peek, b"BODY[" + section_name(section) + b"]" + _origin(partial)
        ),
        sections,
        partials,
        st.booleans(),
    ),
    st.builds(
        lambda part, partial, peek: Binary(
            part, partial, peek, b"BINARY[" + section_name(Section(part)) + b"]" + _origin(partial)
        ),
        parts,
        partials,
        st.booleans(),
    ),
    parts.map(lambda part: BinarySize(part, b"BINARY.SIZE[" + section_name(Section(part)) + b"]")),
    st.sampled_from(
        [
            BodySection(Section(), None, False, b"RFC822"),
            BodySection(Section(what=What.HEADER), None, True, b"RFC822.HEADER"),
            BodySection(Section(what=What.TEXT), None, False, b"RFC822.TEXT"),
        ]
    ),
)

leaves: st.SearchStrategy[k.Key] = st.one_of(
    st.sampled_from([k.All(), k.Recent()]),
    st.sampled_from(["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"]).map(k.Flag),
    keywords.map(k.Flag),
    st.builds(k.Header, texts, texts),
    texts.map(k.Body),
    texts.map(k.Text),
    st.builds(k.Dated, st.sampled_from(k.DateOf), st.sampled_from(k.When), st.dates(date(1, 1, 1))),
    st.one_of(numbers64.map(k.Larger), numbers64.map(k.Smaller), numbers.map(k.Older), numbers.map(k.Younger)),
    st.builds(k.Numbers, messages, st.booleans()),
    numbers64.map(k.ModSeqFrom),
)
search_keys: st.SearchStrategy[k.Key] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(k.Not),
        st.builds(k.Or, inner, inner),
        st.lists(inner, min_size=2, max_size=3).map(lambda keys: k.And(tuple(keys))),
    ),
    max_leaves=8,
)

flag_lists = st.lists(
    st.one_of(st.sampled_from(["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"]), atoms), max_size=4
).map(tuple)
status_items = st.lists(st.sampled_from(c.StatusItem), min_size=1, unique=True).map(tuple)
selections = st.frozensets(st.sampled_from(c.Selection)).filter(
    lambda found: (
        c.Selection.RECURSIVEMATCH not in found or bool(found - {c.Selection.RECURSIVEMATCH, c.Selection.REMOTE})
    )
)
upper_words = st.text("ABZ019=-", min_size=1, max_size=8)


@st.composite
def fetches(draw: st.DrawFn) -> c.Fetch:
    items = tuple(draw(st.lists(fetch_items, min_size=1, max_size=4, unique=True)))
    uid = draw(st.booleans())
    changed_since = draw(st.none() | numbers64)
    vanished = uid and changed_since is not None and draw(st.booleans())
    return c.Fetch(draw(messages), items, uid=uid, changed_since=changed_since, vanished=vanished)


@st.composite
def searches(draw: st.DrawFn) -> c.Search:
    returns = draw(st.none() | st.frozensets(st.sampled_from(c.SearchReturn), min_size=1))
    return c.Search(draw(search_keys), uid=draw(st.booleans()), returns=returns)


any_command: st.SearchStrategy[c.Command] = st.one_of(
    st.sampled_from(c.Plain),
    st.builds(c.Login, texts, texts),
    st.lists(upper_words, min_size=1, max_size=3).map(lambda words: c.Enable(tuple(words))),
    st.lists(st.tuples(texts, st.none() | texts), max_size=3).map(lambda pairs: c.Id(tuple(pairs))),
    upper_words.map(c.Compress),
    st.builds(c.Select, mailboxes, st.booleans(), st.booleans(), st.none() | qresyncs()),
    st.builds(c.Create, mailboxes, st.lists(atoms.map("\\{}".format), max_size=2).map(tuple)),
    st.one_of(mailboxes.map(c.Delete), mailboxes.map(c.Subscribe), mailboxes.map(c.Unsubscribe)),
    st.builds(c.Rename, mailboxes, mailboxes),
    st.builds(c.Status, mailboxes, status_items),
    st.builds(
        c.List,
        mailboxes,
        st.lists(mailboxes, min_size=1, max_size=3).map(tuple),
        selections,
        st.frozensets(st.sampled_from(c.ListReturn)),
        st.just(()) | status_items,
        st.just(True),
    ),
    st.builds(lambda reference, pattern: c.List(reference, (pattern,)), mailboxes, mailboxes),
    st.builds(c.Lsub, mailboxes, mailboxes),
    st.one_of(texts.map(c.GetQuota), mailboxes.map(c.GetQuotaRoot)),
    st.builds(c.SetQuota, texts, st.lists(st.tuples(upper_words, numbers64), max_size=2).map(tuple)),
    fetches(),
    st.builds(
        c.Store,
        messages,
        st.sampled_from("+-="),
        flag_lists,
        silent=st.booleans(),
        uid=st.booleans(),
        unchanged_since=st.none() | numbers64,
    ),
    st.builds(c.Copy, messages, mailboxes, st.booleans()),
    st.builds(c.Move, messages, mailboxes, st.booleans()),
    (st.none() | messages).map(c.Expunge),
    searches(),
    st.builds(
        c.Sort,
        st.lists(st.builds(k.SortBy, st.sampled_from(k.SortKey), st.booleans()), min_size=1, max_size=3).map(tuple),
        search_keys,
        st.booleans(),
    ),
    st.builds(c.Thread, st.sampled_from(k.ThreadAlgorithm), search_keys, st.booleans()),
)
