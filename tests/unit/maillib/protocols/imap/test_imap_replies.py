"""What the server says is what the RFCs' examples have."""

from array import array
from datetime import UTC, datetime

import pytest

from maillib.protocols.imap import names, replies
from maillib.protocols.imap.commands import StatusItem
from maillib.protocols.imap.errors import Malformed
from maillib.protocols.imap.events import BadCommand
from maillib.protocols.imap.quoting import MAX_QUOTED, astring, literal8, nstring, string


def test_status_responses() -> None:
    """With a tag or without, with a code or without."""
    assert replies.tagged("a1", "OK", "done") == b"a1 OK done\r\n"
    assert replies.tagged("a1", "NO", "no such mailbox", code="TRYCREATE") == b"a1 NO [TRYCREATE] no such mailbox\r\n"
    assert replies.untagged("BYE", "farewell") == b"* BYE farewell\r\n"
    assert replies.untagged("OK", "valid", code="UIDVALIDITY 5") == b"* OK [UIDVALIDITY 5] valid\r\n"
    assert replies.continuation("idling") == b"+ idling\r\n"
    assert replies.challenge(b"") == b"+ \r\n"


def test_refusal() -> None:
    """NO where a code says why, else BAD; with the tag if there is one."""
    assert replies.refusal(BadCommand("a", "NOOP", "nonsense")) == b"a BAD nonsense\r\n"
    assert replies.refusal(BadCommand(None, "unknown", "nonsense")) == b"* BAD nonsense\r\n"
    assert replies.refusal(BadCommand("a", "CREATE", "not so", "CANNOT")) == b"a NO [CANNOT] not so\r\n"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (b"", b'""'),
        (b'a "b" \\', b'"a \\"b\\" \\\\"'),
        (b"a\r\nb", b"{4}\r\na\r\nb"),
        ("ä".encode(), b"{2}\r\n\xc3\xa4"),
        (b"x" * (MAX_QUOTED + 1), b"{1001}\r\n" + b"x" * 1001),
    ],
)
def test_strings(text: bytes, written: bytes) -> None:
    """Quoted if ASCII without line ends, and not too long; else a literal, in which every octet is as it was."""
    assert string(text) == nstring(text) == written


def test_other_strings() -> None:
    """NIL is not "NIL"."""
    assert nstring(None) == b"NIL"
    assert (astring("nil"), astring("a]"), astring("a b"), astring("")) == (b'"nil"', b"a]", b'"a b"', b'""')
    assert literal8(b"\0") == b"~{1}\r\n\0"


@pytest.mark.parametrize(
    ("name", "utf7"),
    [
        ("INBOX", b"INBOX"),
        ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),  # RFC 3501 §5.1.3
        ("A&B", b"A&-B"),
        ("😀", b"&2D3eAA-"),
        ("a b", b'"a b"'),
    ],
)
def test_mailbox_names(name: str, utf7: bytes) -> None:
    """Modified UTF-7, or UTF-8 in quotes for who has enabled it; both are atoms where they can be."""
    assert replies.mailbox(name, utf8=False) == utf7
    if not name.isascii():
        assert replies.mailbox(name, utf8=True) == b'"' + name.encode() + b'"'


@pytest.mark.parametrize(
    "octets", [b"&", b"&Jjo", b"&Jjo!", b"&AGE-", b"&U,BTFw-&ZeVnLIqe-", b"&2D0-", b"\xc3\xa4", b"a\r"]
)
def test_names_in_no_form(octets: bytes) -> None:
    """What is no canonical modified UTF-7 is answered NO [CANNOT]."""
    with pytest.raises(Malformed) as raised:
        names.decode(octets, utf8=False)
    assert raised.value.code == "CANNOT"


def test_flags() -> None:
    """System flags come first."""
    assert replies.flags(frozenset({"b", "\\Seen", "a", "\\Draft"})) == b"(\\Draft \\Seen a b)"
    assert replies.flags(frozenset()) == b"()"


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (datetime(1996, 7, 17, 2, 44, 25, tzinfo=UTC), b'"17-Jul-1996 02:44:25 +0000"'),
        (datetime(2024, 2, 9, 23, 59, 59, tzinfo=UTC), b'" 9-Feb-2024 23:59:59 +0000"'),
        (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), b'"31-Dec-1969 23:59:59 +0000"'),
    ],
)
def test_internal_date(moment: datetime, written: bytes) -> None:
    """The day has two places."""
    assert replies.internal_date(int(moment.timestamp())) == written


def test_codes() -> None:
    """As RFC 4315 §3 and RFC 7162 §3.1.3 have them."""
    assert replies.append_uid(38505, [3955]) == "APPENDUID 38505 3955"
    assert replies.copy_uid(38505, [304, 319, 320], [3956, 3957, 3958]) == "COPYUID 38505 304,319:320 3956:3958"
    assert replies.modified([7, 9]) == "MODIFIED 7,9"
    assert replies.permanent_flags(["\\Seen", "\\*"]) == "PERMANENTFLAGS (\\Seen \\*)"


def test_lines() -> None:
    """The untagged lines of the RFCs' examples."""
    assert replies.capability(["IMAP4rev2", "IDLE"]) == b"* CAPABILITY IMAP4rev2 IDLE\r\n"
    assert replies.enabled(["CONDSTORE"]) == b"* ENABLED CONDSTORE\r\n"
    assert replies.enabled([]) == b"* ENABLED\r\n"
    assert replies.server_id({"name": "x y"}) == b'* ID ("name" "x y")\r\n'
    assert replies.server_id({}) == b"* ID NIL\r\n"
    assert replies.namespace("/") == b'* NAMESPACE (("" "/")) NIL NIL\r\n'
    assert replies.counted(23, "EXISTS") == b"* 23 EXISTS\r\n"
    assert replies.fetched(12, [b"FLAGS (\\Seen)", b"UID 5"]) == b"* 12 FETCH (FLAGS (\\Seen) UID 5)\r\n"
    assert replies.vanished(array("I", [300, 301, 405]), earlier=True) == b"* VANISHED (EARLIER) 300:301,405\r\n"
    assert replies.vanished([], earlier=False) == b""
    assert replies.numbers_found("SEARCH", [2, 5], highest_modseq=917) == b"* SEARCH 2 5 (MODSEQ 917)\r\n"
    assert replies.numbers_found("SORT", []) == b"* SORT\r\n"
    assert replies.quota("", [("STORAGE", 10, 512)]) == b'* QUOTA "" (STORAGE 10 512)\r\n'
    assert replies.quota_root("INBOX", [""], utf8=False) == b'* QUOTAROOT INBOX ""\r\n'
    status = replies.status_line("a b", {StatusItem.MESSAGES: 231, StatusItem.UIDNEXT: 44292}, utf8=False)
    assert status == b'* STATUS "a b" (MESSAGES 231 UIDNEXT 44292)\r\n'


def test_list_lines() -> None:
    """With what RFC 9051 §6.3.9 adds at the end."""
    assert (
        replies.list_line("x", ["\\HasNoChildren"], separator="/", utf8=False) == b'* LIST (\\HasNoChildren) "/" x\r\n'
    )
    assert replies.list_line("x", [], separator="/", utf8=False, kind="LSUB") == b'* LSUB () "/" x\r\n'
    line = replies.list_line("x", [], separator="/", utf8=False, children_are_subscribed=True)
    assert line == b'* LIST () "/" x ("CHILDINFO" ("SUBSCRIBED"))\r\n'


def test_esearch() -> None:
    """What was asked for and is there. RFC 9051 §7.3.4."""
    assert replies.esearch("A282", uid=False, least=2, count=3) == b'* ESEARCH (TAG "A282") MIN 2 COUNT 3\r\n'
    found = replies.esearch("a", uid=True, found=[17, 900, 901], highest_modseq=917)
    assert found == b'* ESEARCH (TAG "a") UID ALL 17,900:901 MODSEQ 917\r\n'
    assert replies.esearch("a", uid=True) == b'* ESEARCH (TAG "a") UID\r\n'
