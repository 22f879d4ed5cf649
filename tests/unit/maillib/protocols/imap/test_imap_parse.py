"""Single commands: the examples of the RFCs, what clients write, and what is refused."""

from datetime import date

import pytest

from maillib.message.sections import Partial, Section, What
from maillib.protocols.imap import parse
from maillib.protocols.imap.commands import (
    Authenticate,
    Command,
    Compress,
    Copy,
    Create,
    Enable,
    Expunge,
    Fetch,
    GetQuotaRoot,
    Id,
    List,
    ListReturn,
    Login,
    Lsub,
    Move,
    Plain,
    Qresync,
    Rename,
    Search,
    SearchReturn,
    Select,
    Selection,
    SetQuota,
    Sort,
    Status,
    StatusItem,
    Store,
    Thread,
    keyword,
)
from maillib.protocols.imap.events import BadCommand, Tagged
from maillib.protocols.imap.fetch_items import Binary, BinarySize, BodySection, Item, Preview
from maillib.protocols.imap.search_keys import (
    All,
    And,
    Body,
    Dated,
    DateOf,
    Flag,
    Header,
    ModSeqFrom,
    Not,
    Numbers,
    Older,
    Or,
    Recent,
    SortBy,
    SortKey,
    Text,
    ThreadAlgorithm,
    When,
)
from maillib.protocols.imap.sequences import STAR, Saved, SequenceSet


def parsed(text: str | bytes) -> Command:
    found = parse.command(text.encode() if isinstance(text, str) else text, utf8_names=False)
    assert isinstance(found, Tagged), found
    return found.command


def refused(text: str | bytes) -> BadCommand:
    found = parse.command(text.encode() if isinstance(text, str) else text, utf8_names=False)
    assert isinstance(found, BadCommand), found
    return found


def numbers(*intervals: int | tuple[int, int]) -> SequenceSet:
    return SequenceSet(tuple(one if isinstance(one, tuple) else (one, one) for one in intervals))


def body(section: Section, name: bytes, partial: Partial | None = None, *, peek: bool = False) -> BodySection:
    return BodySection(section, partial, peek, name)


FAST = (Item.FLAGS, Item.INTERNALDATE, Item.SIZE)

EXAMPLES: list[tuple[str, Command]] = [
    # RFC 9051 §6.1, §6.2
    ("abcd CAPABILITY", Plain.CAPABILITY),
    ("a002 NOOP", Plain.NOOP),
    ("A023 LOGOUT", Plain.LOGOUT),
    ("a001 login mrc secret", Login("mrc", "secret")),
    ("A001 AUTHENTICATE GSSAPI", Authenticate("GSSAPI", None)),
    ("A01 AUTHENTICATE plain =", Authenticate("PLAIN", b"")),  # RFC 4959 §3
    ("A01 AUTHENTICATE PLAIN dGVzdAB0ZXN0AHRlc3Q=", Authenticate("PLAIN", b"test\0test\0test")),
    # §6.3
    ("t1 ENABLE CONDSTORE X-GOOD-IDEA", Enable(("CONDSTORE", "X-GOOD-IDEA"))),  # RFC 5161 §3.1
    ("A142 SELECT INBOX", Select("INBOX")),
    ("A932 EXAMINE blurdybloop", Select("blurdybloop", read_only=True)),
    ("A003 CREATE owatagusiam/", Create("owatagusiam/")),
    ("t2 CREATE MySpecial (USE (\\Drafts \\Sent))", Create("MySpecial", ("\\Drafts", "\\Sent"))),  # RFC 6154 §5.3
    ("A683 RENAME blurdybloop sarasoop", Rename("blurdybloop", "sarasoop")),
    ('A101 LIST "" ""', List("", ("",))),
    ("A202 LIST ~/Mail/ %", List("~/Mail/", ("%",))),
    (
        'A01 LIST (SUBSCRIBED RECURSIVEMATCH) "" "*"',
        List("", ("*",), frozenset({Selection.SUBSCRIBED, Selection.RECURSIVEMATCH}), extended=True),
    ),
    (
        'BBB LIST "" ("INBOX" "Drafts" "Sent/%")',  # RFC 5258 §5
        List("", ("INBOX", "Drafts", "Sent/%"), extended=True),
    ),
    (
        'A01 LIST "" % RETURN (STATUS (MESSAGES UNSEEN) CHILDREN)',  # RFC 5819 §3
        List(
            "",
            ("%",),
            frozenset(),
            frozenset({ListReturn.CHILDREN}),
            (StatusItem.MESSAGES, StatusItem.UNSEEN),
            extended=True,
        ),
    ),
    ('A002 LSUB "#news." "comp.mail.*"', Lsub("#news.", "comp.mail.*")),  # RFC 3501 §6.3.9
    (
        "A042 STATUS blurdybloop (UIDNEXT MESSAGES)",
        Status("blurdybloop", (StatusItem.UIDNEXT, StatusItem.MESSAGES)),
    ),
    ("A002 GETQUOTAROOT INBOX", GetQuotaRoot("INBOX")),  # RFC 9208 §4.1.2
    ('S0000 SETQUOTA "#user/alice" (STORAGE 510)', SetQuota("#user/alice", (("STORAGE", 510),))),
    # §6.4
    ("A202 EXPUNGE", Expunge()),
    ("A003 UID EXPUNGE 3000:3002", Expunge(numbers((3000, 3002)))),
    (
        "A654 FETCH 2:4 (FLAGS BODY[HEADER.FIELDS (DATE FROM)])",
        Fetch(
            numbers((2, 4)),
            (
                Item.FLAGS,
                body(Section(what=What.FIELDS, fields=("DATE", "FROM")), b"BODY[HEADER.FIELDS (DATE FROM)]"),
            ),
        ),
    ),
    (
        "A FETCH 1 (BODY.PEEK[1.2.MIME] BODY[4.TEXT]<0.2048>)",
        Fetch(
            numbers(1),
            (
                body(Section((1, 2), What.MIME), b"BODY[1.2.MIME]", peek=True),
                body(Section((4,), What.TEXT), b"BODY[4.TEXT]<0>", Partial(0, 2048)),
            ),
        ),
    ),
    (
        "A FETCH 1 (BINARY.PEEK[1]<9.1> BINARY.SIZE[1.2])",  # RFC 3516 §4.2
        Fetch(
            numbers(1),
            (Binary((1,), Partial(9, 1), True, b"BINARY[1]<9>"), BinarySize((1, 2), b"BINARY.SIZE[1.2]")),
        ),
    ),
    ("A FETCH 1 PREVIEW", Fetch(numbers(1), (Preview(False),))),  # RFC 8970 §3.1
    ("A FETCH 1 (PREVIEW (LAZY) UID)", Fetch(numbers(1), (Preview(True), Item.UID))),
    ("A FETCH 1:* FAST", Fetch(numbers((1, STAR)), FAST)),
    ("A FETCH 5 all", Fetch(numbers(5), (*FAST, Item.ENVELOPE))),
    ("A FETCH 5 FULL", Fetch(numbers(5), (*FAST, Item.ENVELOPE, Item.BODY))),
    (
        "s100 UID FETCH 1:* (FLAGS) (CHANGEDSINCE 12345 VANISHED)",  # RFC 7162 §3.2.6
        Fetch(numbers((1, STAR)), (Item.FLAGS,), uid=True, changed_since=12345, vanished=True),
    ),
    ("A003 STORE 2:4 +FLAGS (\\Deleted)", Store(numbers((2, 4)), "+", ("\\Deleted",))),
    (
        "a103 UID STORE 6,4,8 (UNCHANGEDSINCE 12121230045) +FLAGS.SILENT (\\Deleted)",  # RFC 7162 §3.1.3
        Store(numbers(6, 4, 8), "+", ("\\Deleted",), silent=True, uid=True, unchanged_since=12121230045),
    ),
    ("A003 COPY 2:4 MEETING", Copy(numbers((2, 4)), "MEETING")),
    ("a UID MOVE 42:69 foo", Move(numbers((42, 69)), "foo", uid=True)),  # RFC 6851 §3.1
    ("C UID MOVE $ Trash", Move(Saved.RESULT, "Trash", uid=True)),  # RFC 5182 §2.4
    # SEARCH
    (
        'A282 SEARCH RETURN (MIN COUNT) FLAGGED SINCE 1-Feb-1994 NOT FROM "Smith"',
        Search(
            And(
                (
                    Flag("\\Flagged"),
                    Dated(DateOf.INTERNAL, When.SINCE, date(1994, 2, 1)),
                    Not(Header("FROM", "Smith")),
                )
            ),
            returns=frozenset({SearchReturn.MIN, SearchReturn.COUNT}),
        ),
    ),
    (
        "A283 SEARCH RETURN () TEXT nothing",
        Search(Text("nothing"), returns=frozenset({SearchReturn.ALL})),
    ),
    (
        'a SEARCH MODSEQ "/flags/\\\\draft" all 620162338',  # RFC 7162 §3.1.5
        Search(ModSeqFrom(620162338)),
    ),
    (
        "P283 UID SEARCH OLDER 60 OR $ UID 5:*",  # RFC 5182 §2.4, RFC 5032 §3
        Search(
            And((Older(60), Or(Numbers(Saved.RESULT, uid=False), Numbers(numbers((5, STAR)), uid=True)))),
            uid=True,
        ),
    ),
    (
        "A282 SORT (REVERSE DATE SUBJECT) UTF-8 (NEW)",  # RFC 5256 §3
        Sort(
            (SortBy(SortKey.DATE, True), SortBy(SortKey.SUBJECT, False)),
            And((Recent(), Not(Flag("\\Seen")))),
        ),
    ),
    ("A285 THREAD ORDEREDSUBJECT UTF-8 ALL", Thread(ThreadAlgorithm.ORDEREDSUBJECT, All())),
    # Extensions
    ('a023 ID ("name" "sodr" "version" NIL)', Id((("name", "sodr"), ("version", None)))),  # RFC 2971 §3.1
    ("a042 ID NIL", Id(())),
    ("a COMPRESS DEFLATE", Compress("DEFLATE")),  # RFC 4978 §3
    ("A02 SELECT INBOX (CONDSTORE)", Select("INBOX", condstore=True)),  # RFC 7162 §3.1.8
    (
        "A02 SELECT INBOX (QRESYNC (67890007 20050715194045000 41,43:211,214:541))",  # RFC 7162 §3.2.5.1
        Select("INBOX", qresync=Qresync(67890007, 20050715194045000, numbers(41, (43, 211), (214, 541)))),
    ),
    (
        "B04 SELECT INBOX (QRESYNC (67890007 90060115194045000 41:211,214:541 (1,3,5 41,43,45)) CONDSTORE)",
        Select(
            "INBOX",
            condstore=True,
            qresync=Qresync(
                67890007,
                90060115194045000,
                numbers((41, 211), (214, 541)),
                numbers(1, 3, 5),
                numbers(41, 43, 45),
            ),
        ),
    ),
    # What clients write
    ("5 uid store 5 +Flags (\\Seen)", Store(numbers(5), "+", ("\\Seen",), uid=True)),
    ("5 STORE 1 FLAGS \\seen $Forwarded", Store(numbers(1), "=", ("\\Seen", "$Forwarded"))),
    ("5 STORE 1 FLAGS (\\Recent)", Store(numbers(1), "=", ())),
    (
        '6 list (subscribed) "" "*" return (special-use)',
        List(
            "",
            ("*",),
            frozenset({Selection.SUBSCRIBED}),
            frozenset({ListReturn.SPECIAL_USE}),
            extended=True,
        ),
    ),
    ("7 LOGIN joe@example.test pass.word]", Login("joe@example.test", "pass.word]")),
    ('7 LOGIN "a\\"b" "c\\\\d"', Login('a"b', "c\\d")),
    ("7 LOGIN joe {3}\r\n)\r\n", Login("joe", ")\r\n")),
    ("8 FETCH 1 RFC822.HEADER", Fetch(numbers(1), (body(Section(what=What.HEADER), b"RFC822.HEADER", peek=True),))),
    ("8 FETCH 1 (RFC822.SIZE)", Fetch(numbers(1), (Item.SIZE,))),
    ("8 FETCH  1  (UID  FLAGS )  ", Fetch(numbers(1), (Item.UID, Item.FLAGS))),
    ("8 FETCH 1 (UID UID)", Fetch(numbers(1), (Item.UID,))),
    ("9 SEARCH ( OR (SEEN) (BODY x) )", Search(Or(Flag("\\Seen"), Body("x")))),
    ('9 SEARCH SINCE "01-feb-1994"', Search(Dated(DateOf.INTERNAL, When.SINCE, date(1994, 2, 1)))),
    ("9 CREATE &U,BTFw-", Create("台北")),  # RFC 3501 §5.1.3
]


@pytest.mark.parametrize(("line", "command"), EXAMPLES, ids=[line[:40] for line, _ in EXAMPLES])
def test_examples(line: str, command: Command) -> None:
    """What the RFCs and clients write means what they say."""
    assert parsed(line) == command


def test_search_strings_are_of_their_charset() -> None:
    """They come out as text, whatever they were sent in; without CHARSET they are UTF-8."""
    assert parsed(b"a SEARCH CHARSET iso-8859-1 SUBJECT {1}\r\n\xe4") == Search(Header("SUBJECT", "ä"))
    assert parsed(b"a SEARCH SUBJECT {2}\r\n\xc3\xa4") == Search(Header("SUBJECT", "ä"))
    assert refused(b"a SEARCH CHARSET UTF-8 SUBJECT {1}\r\n\xe4").code is None


def test_long_keyword() -> None:
    """It is answered NO: nothing is wrong with it but its length."""
    assert refused("a STORE 1 FLAGS " + "x" * 256).code == "LIMIT"


@pytest.mark.parametrize("charset", ["klingon", "idna", "punycode", "rot13", "unicode_escape", "x" * 5000])
def test_unknown_charset(charset: str) -> None:
    """It is answered NO, with those that are known to all; codecs that are no charsets are unknown."""
    assert refused(f"a SEARCH CHARSET {charset} ALL").code == "BADCHARSET (US-ASCII UTF-8)"


def test_names_after_utf8_is_enabled() -> None:
    """UTF-8 is taken then, and `&` means itself; before, a name in UTF-8 cannot be one."""
    line = "a RENAME &A {2}\r\nä".encode()
    assert parse.command(line, utf8_names=True) == Tagged("a", Rename("&A", "ä"))
    assert refused(line) == BadCommand("a", "RENAME", "that cannot be a mailbox's name", "CANNOT")


@pytest.mark.parametrize(
    "line",
    [
        "a",
        "a XYZZY",
        "a UID",
        "a UID NOOP",
        "a NOOP (" + "(" * 4000,
        "a LOGIN joe",
        "a LOGIN joe p q",
        'a LOGIN "joe',
        'a LOGIN "jo\\e" p',
        "a LOGIN joe {3}\r\na\0b",
        "a AUTHENTICATE PLAIN A",
        "a SELECT INBOX (QRESYNC (0 1))",
        "a SELECT INBOX (QRESYNC (1 1 1:*))",
        "a SELECT INBOX (QRESYNC (1 1 1:5 (1,2 3)))",
        "a SELECT INBOX (QRESYNC (1 1 1:5 (2,1 3,4)))",
        "a CREATE x (SIZE 5)",
        "a STATUS INBOX ()",
        "a STATUS INBOX (MESSAGES COLOUR)",
        'a LIST (RECURSIVEMATCH) "" *',
        'a LIST "" ()',
        'a LIST "" * RETURN (COLOUR)',
        "a FETCH 0 FLAGS",
        "a FETCH 4294967296 FLAGS",
        "a FETCH 1, FLAGS",
        "a FETCH 1:2:3 FLAGS",
        "a FETCH $,1 FLAGS",
        "a FETCH 1 ()",
        "a FETCH 1 (ALL)",
        "a FETCH 1 (FLAGS",
        "a FETCH 1 (FLAGS)UID",
        "a FETCH 1 COLOUR",
        "a FETCH 1 BODY[MIME]",
        "a FETCH 1 BODY[0]",
        "a FETCH 1 BODY[1.]",
        "a FETCH 1 BODY[1HEADER]",
        "a FETCH 1 BODY[HEADER.FIELDS ()]",
        "a FETCH 1 BODY[HEADER.FIELDS ({3}\r\na\rb)]",
        "a FETCH 1 BODY[]<0.0>",
        "a FETCH 1 BODY[]<0>",
        "a FETCH 1 FLAGS (CHANGEDSINCE 5 VANISHED)",
        "a UID FETCH 1 FLAGS (VANISHED)",
        "a STORE 1 FLAGS",
        "a STORE 1 FLAGS (\\Shiny)",
        "a STORE 1 FLAGS (a(b)",
        "a STORE 1 *FLAGS (a)",
        "a SEARCH",
        "a SEARCH ()",
        "a SEARCH (ALL",
        "a SEARCH ALL)",
        "a SEARCH OR ALL",
        "a SEARCH NOT",
        "a SEARCH (ALL)(ALL)",
        "a SEARCH OR (ALL) NOT)",
        "a SEARCH SINCE 31-Feb-2000",
        "a SEARCH SINCE 1-Foo-2000",
        "a SEARCH LARGER 99999999999999999999",
        "a SEARCH RETURN (COLOUR) ALL",
        "a SORT () UTF-8 ALL",
        "a SORT (COLOUR) UTF-8 ALL",
        "a THREAD JWZ UTF-8 ALL",
        "a ID (a)",
        "a APPEND INBOX",
    ],
)
def test_bad_commands(line: str) -> None:
    """They are answered BAD, with their tag."""
    bad = refused(line)
    assert (bad.tag, bad.code) == ("a", None)


@pytest.mark.parametrize("line", ["", " ", "* NOOP", "+ NOOP", "a+b NOOP", "(a) NOOP", "ä NOOP"])
def test_without_a_tag(line: str) -> None:
    """What begins with none is answered without one."""
    assert refused(line) == BadCommand(None, "unknown", "a tag is missing")


@pytest.mark.parametrize("opening", ["(", "NOT ", "OR ALL ", "OR (ALL) ("])
def test_nesting_is_bounded(opening: str) -> None:
    """Fifty levels of search keys are taken, more are not."""
    closing = ")" * opening.count("(", opening.find(") ") + 1)
    depth = 50 // max(1, opening.count("(") + opening.count("OR") - opening.count(")"))
    assert isinstance(parsed("a SEARCH " + opening * depth + "ALL" + closing * depth), Search)
    assert refused("a SEARCH " + opening * 51 + "ALL" + closing * 51).reason == "search keys are nested too deeply"


def test_secrets_stay_out_of_sight() -> None:
    """Neither a command that shows itself nor a refusal has a password in it."""
    shown = [
        repr(parsed("a LOGIN joe s3cret")),
        repr(parsed("a AUTHENTICATE PLAIN czNjcmV0")),
        repr(refused("a LOGIN joe s3cret s3cret")),
        repr(refused('a LOGIN joe "s3cret')),
        repr(refused("a s3cret")),
        repr(refused("a UID s3cret")),
    ]
    assert not [text for text in shown if "s3cret" in text or "czNjcmV0" in text]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("a noop", "NOOP"),
        ("a examine x", "EXAMINE"),
        ("a uid fetch 1 uid", "UID FETCH"),
        ("a fetch 1 uid", "FETCH"),
        ("a uid expunge 1", "UID EXPUNGE"),
        ("a expunge", "EXPUNGE"),
        ("a uid search all", "UID SEARCH"),
        ("a getquotaroot x", "GETQUOTAROOT"),
    ],
)
def test_keyword(line: str, name: str) -> None:
    """A command has the name that its client used."""
    assert keyword(parsed(line)) == name
    assert refused(line + " (").keyword == name
