"""What SEARCH compares and PREVIEW shows."""

import encodings
from datetime import UTC, datetime, timedelta, timezone

import pytest

from maillib.message import text as message_text
from maillib.message.charsets import codec, decode
from maillib.message.dates import parse_date, sent_date
from maillib.message.markup import without_tags
from maillib.message.mime import structure
from maillib.message.text import body_text, field_values, fold, header_text, part_headers_text, preview
from maillib.message.words import decoded_words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"=?utf-8?q?a?= =?utf-8?q?b?= c", "ab c"),
        (b"x =?utf-8?b?w6Q=?= y", "x ä y"),
        (b"=?utf-8?b?ww==?=\t=?UTF-8?b?pA==?=", "ä"),
        (b"=?iso-8859-1*en?Q?=E4_b?= z\xe4", "ä b zä"),
        (b"=?utf-8?q?a?= x =?utf-8?q?b?=", "a x b"),
        (b"=?utf-8?q?a?= =?us-ascii?q?b?=", "ab"),
        (b"=?no-such?q?=C3=A4?=", "ä"),
        (b"=?gb2312?b?1tDOxA==?= =?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "中文日本"),
        (b"=?utf-8?q?=ff?=", "\N{REPLACEMENT CHARACTER}"),
        (b"=?utf-8?q?abc", "=?utf-8?q?abc"),
        (b"=?utf-8?x?abc?=", "=?utf-8?x?abc?="),
        (b"(=?utf-8?q?a?=)", "(a)"),
        (b"=?utf-8?b??=", ""),
    ],
)
def test_encoded_words(value: bytes, text: str) -> None:
    """Decoded wherever they are; space between two of them goes, octets of one character may be in two."""
    assert decoded_words(value) == text


@pytest.mark.parametrize(
    ("octets", "charset", "text"),
    [
        ("ä".encode(), None, "ä"),
        (b"\xe4\x80", None, "ä€"),
        (b"\xe4", "us-ascii", "ä"),
        (b"\xe4", "no-such", "ä"),
        (b"\xe4", "ISO-8859-1", "ä"),
        ("я".encode("koi8-r"), "KOI8-R", "я"),
        (b"\xe4", "utf-8", "\N{REPLACEMENT CHARACTER}"),
        (b"+2AA-", "utf-7", "\N{REPLACEMENT CHARACTER}"),
        (b"\x82\xa0", "x-sjis", "あ"),
        ("ä".encode("utf-16"), "utf-16", "ä"),
        (b"\0", "utf-16", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_charsets(octets: bytes, charset: str | None, text: str) -> None:
    """What is wrong is replaced; without a charset that is known it is UTF-8, or else Windows-1252."""
    assert decode(octets, charset) == text


@pytest.mark.parametrize(
    "name", ["idna", "punycode", "unicode_escape", "hex", "rot13", "zlib", "undefined", "x" * 65, "ä"]
)
def test_what_is_no_charset(name: str) -> None:
    """Python's other codecs are not for strangers."""
    assert codec(name) is None


def test_names_of_strangers_are_not_kept() -> None:
    """Python's registry, which forgets nothing, is not asked for names that nobody knows."""
    before = len(vars(encodings)["_cache"])
    assert all(codec(f"x-{number}") is None for number in range(1000))
    assert len(vars(encodings)["_cache"]) == before


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Hel<b>lo</b> &amp; w&ouml;rld", "Hello & wörld"),
        ("<p>a</p><p>b<br>c</p><td>d</td>", "a b c d"),
        ("a<!-- b > --><STYLE type=x>p{a>b}</style >c<script>if(a<b)</script>d", "a c d"),
        ("<title>t</title>x\r\n\t y", "x y"),
        ("2 < 3 <x y='z'>", "2 < 3"),
        ("a<!-- open", "a"),
        ("a<style>open", "a"),
        ("a<p", "a<p"),
        ("&#" + "1" * 5000 + ";&#x110000;&#0;", "\N{REPLACEMENT CHARACTER}" * 3),
    ],
)
def test_html(source: str, text: str) -> None:
    """Only what a reader sees, with one space for any."""
    assert without_tags(source) == text


@pytest.mark.parametrize("piece", ["<", "<!--", "<style>", "<p ", "<style></style>", "&#", "</style", "a\u0300\u0323"])
def test_text_full_of_anything_takes_no_time(piece: str) -> None:
    """A million characters of the same are read as fast as they are many."""
    fold(without_tags(piece * (1_000_000 // len(piece))))


@pytest.mark.parametrize(
    ("one", "other"),
    [("GRÜSSE", "grüße"), ("\N{KELVIN SIGN}", "k"), ("e\u0301", "É"), ("ﬁ", "FI"), ("Σς", "σσ"), ("Ａ", "a")],
)
def test_folded_alike(one: str, other: str) -> None:
    """Neither case nor the way of writing matters."""
    assert fold(one) == fold(other)
    assert fold(fold(one)) == fold(one)


MESSAGE = (
    "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n an Ä\r\nX: y\r\n"
    "Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n"
    "--b\r\nContent-Type: text/plain; charset=iso-8859-1; format=flowed\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    "SGVsbG8g5A==\r\n"
    "--b\r\nContent-Type: text/html\r\nContent-Disposition: attachment; filename=Page.html\r\n\r\n"
    "<p>Hidden <b>T</b>ext\r\n"
    "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: Inner\r\n\r\ninner body\r\n"
    "--b\r\nContent-Type: image/png\r\n\r\nPIXELS\r\n--b--\r\n"
).encode()


def test_text_of_a_message() -> None:
    """Fields by name, headers of parts, and bodies of text, each decoded and folded; what is no text is left out."""
    tree = structure(MESSAGE)
    header = MESSAGE[: tree.body]
    assert field_values(header, "SUBJECT") == ["Grüße an Ä"]
    assert header_text(header).split("\n")[1:3] == ["subject: " + fold("grüsse an ä"), "x: y"]
    assert "\ncontent-disposition: attachment; filename=page.html\n" in part_headers_text(MESSAGE, tree)
    assert body_text(MESSAGE, tree).split("\n") == [
        fold("hello ä"), "hidden text", "", "subject: inner", "", "inner body"
    ]  # fmt: skip


def test_text_of_a_message_beyond_what_is_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all text parts together the first octets are looked into; headers of attached messages count for none."""
    monkeypatch.setattr(message_text, "MAX_TEXT_OCTETS", 6)
    attached = b"Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\nfive"
    parts = b"\r\n--b\r\n".join((b"--b\r\n\r\nfour", attached, b"\r\nnothing")) + b"\r\n--b--\r\n"
    octets = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + parts
    assert body_text(octets, structure(octets)) == "four\n\na: b\n\nfi\n"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (MESSAGE, "Hello ä"),
        (b"\r\n a\r\n\r\n b " + b"c" * 500, "a b " + "c" * 196),
        (b"Content-Type: text/html\r\n\r\n<style>x</style><p>Hi", "Hi"),
        (b"Content-Type: image/png\r\n\r\nabc", ""),
        (b"Content-Disposition: attachment\r\n\r\nabc", ""),
        (b"Content-Transfer-Encoding: x-foo\r\n\r\nabc", "abc"),
        (b"\r\na\0b\x1b[1m\x7fc\xc2\x85", "a b [1m c"),
        (b"", ""),
    ],
)
def test_preview(message: bytes, shown: str) -> None:
    """The first 200 characters of the first text that is no attachment, on one line."""
    assert preview(message) == shown


@pytest.mark.parametrize(
    ("value", "date"),
    [
        (b"Mon, 1 Jan 2024 10:00:00 +0130 (X)", datetime(2024, 1, 1, 10, tzinfo=timezone(timedelta(minutes=90)))),
        (b"1 jan 99 10:00 EST", datetime(1999, 1, 1, 10, tzinfo=timezone(timedelta(hours=-5)))),
        (b"Mon,1-January-2024 23:59:60 -0000", datetime(2024, 1, 1, 23, 59, 59, tzinfo=UTC)),
        (b"(c) 1 (c) Jan (c) 101", datetime(2001, 1, 1, tzinfo=UTC)),
        (b"1 Jan 2024 10:00 Z", datetime(2024, 1, 1, 10, tzinfo=UTC)),
        (b"1 Jan 2024 10:00 +9999", datetime(2024, 1, 1, 10, tzinfo=UTC)),
        (b"31 Feb 2024 10:00:00", None),
        (b"1 Jan 0000", None),
        (b"1 Xyz 2024", None),
        (b"2024-01-01", None),
        (b"", None),
    ],
)
def test_dates(value: bytes, date: datetime | None) -> None:
    """As written in the last thirty years; what is no date is none."""
    assert parse_date(value) == date
    assert sent_date(b"Date: " + value + b"\r\n\r\n") == date


def test_without_a_date() -> None:
    """There is none."""
    assert sent_date(b"Subject: x\r\n\r\n") is None
