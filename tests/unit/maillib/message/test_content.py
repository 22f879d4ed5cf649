"""Content-* fields and what is in them."""

import pytest

from maillib.message.content import DIGESTED, MAX_PARAMETERS, PLAIN, Disposition, content, parameter, without_comments


def test_no_content_field_leaves_the_default() -> None:
    """What a part is without them is up to what it is in."""
    assert content(b"Subject: x\r\n\r\n") == PLAIN
    assert content(b"Content-ID: <a>\r\n\r\n", DIGESTED).media == b"message/rfc822"


def test_the_first_of_two_counts() -> None:
    """A second Content-Type changes nothing."""
    assert content(b"Content-Type: text/html\r\ncontent-type: text/plain\r\n").media == b"text/html"


def test_all_fields() -> None:
    """Folding, comments and quotes are taken off, spelling stays."""
    found = content(
        b'CONTENT-TYPE: Text/(c)HTML; Charset="utf-8"\r\nContent-Disposition: (x) INLINE;\r\n filename="a\\"b;c"\r\n'
        b"Content-Transfer-Encoding: Base64\r\nContent-Language: en, (x) de\r\nContent-Location: http://a/\r\n"
    )
    assert (found.type, found.subtype, found.parameters) == (b"Text", b"HTML", ((b"Charset", b"utf-8"),))
    assert found.disposition == Disposition(b"INLINE", ((b"filename", b'a"b;c'),))
    assert (found.transfer_encoding, found.languages, found.location) == (b"base64", (b"en", b"de"), b"http://a/")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"n=plain", b"plain"),
        (b"N=x; n=y", b"x"),
        (b"n*=utf-8'en'%C3%A4x", "äx".encode()),
        (b"n*=%C3", b"\xc3"),
        (b"n*0=a; n*1=b", b"ab"),
        (b"n*1=b; n*0=a; n*3=d", b"ab"),
        (b"n*0*=utf-8''%C3; n*1*=%A4; n*2=%41", "ä%41".encode()),
        (b"n*1=b", None),
        (b"nn=x", None),
        (b"n*99999=x", None),
    ],
)
def test_parameters_in_pieces(field: bytes, value: bytes | None) -> None:
    """RFC 2231 §3-4: put together in the order of their numbers, up to the first that is missing."""
    assert parameter(content(b"Content-Type: a/b; " + field).parameters, b"n") == value


def test_comments() -> None:
    """They nest, end at the end if nowhere else, and are none within quotes."""
    assert without_comments(b'a(b(c)\\)d)e"(f)"(g\\') == b'a e"(f)" '


def test_no_more_parameters_than_the_limit() -> None:
    """Of a field that is full of them the first thousand count."""
    found = content(b"Content-Type: text/plain" + b";a=b" * 200_000).parameters
    assert found == ((b"a", b"b"),) * MAX_PARAMETERS
