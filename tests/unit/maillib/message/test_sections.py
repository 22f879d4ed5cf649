"""Sections and decoded parts; odd messages beside Dovecot's answers are in tests/golden."""

import pytest

from maillib.message.mime import structure
from maillib.message.sections import Partial, Section, UnknownEncoding, What, binary, binary_size, find, section

# RFC 9051 §6.4.5.1: the example of a message that has it all, its part numbers as contents.
MESSAGE = (
    b"Subject: outer\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n"
    b"--a\r\nContent-Type: text/plain\r\n\r\none\r\n"
    b"--a\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n/w==\r\n"
    b"--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: three\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\n\r\nthree-one\r\n--b\r\nContent-Type: image/gif\r\n\r\nthree-two\r\n--b--\r\n"
    b"--a\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n"
    b"--c\r\nContent-Type: image/gif\r\n\r\nfour-one\r\n"
    b"--c\r\nContent-Type: message/rfc822\r\n\r\n"
    b"Subject: four-two\r\nContent-Type: multipart/alternative; boundary=d\r\n\r\n"
    b"--d\r\n\r\nfour-two-one\r\n--d\r\nContent-Type: text/richtext\r\n\r\nfour-two-two\r\n--d--\r\n"
    b"--c--\r\n--a--\r\n"
)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Section((1,)), b"one"),
        (Section((3,), What.HEADER), b"Subject: three\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"),
        (Section((3,), What.FIELDS, ("subject",)), b"Subject: three\r\n\r\n"),
        (Section((3, 1)), b"three-one"),
        (Section((3, 2), What.MIME), b"Content-Type: image/gif\r\n\r\n"),
        (Section((4,), What.MIME), b"Content-Type: multipart/mixed; boundary=c\r\n\r\n"),
        (Section((4, 1)), b"four-one"),
        (Section((4, 2), What.FIELDS_NOT, ("CONTENT-TYPE",)), b"Subject: four-two\r\n\r\n"),
        (Section((4, 2, 1)), b"four-two-one"),
        (Section((4, 2, 2)), b"four-two-two"),
        (Section((), What.FIELDS, ("SUBJECT", "X")), b"Subject: outer\r\n\r\n"),
    ],
)
def test_the_example_of_the_rfc(wanted: Section, found: bytes) -> None:
    """Parts of multiparts and messages within one another are numbered as RFC 9051 §6.4.5.1 shows."""
    assert section(MESSAGE, wanted) == section(MESSAGE, wanted, tree=structure(MESSAGE)) == found


@pytest.mark.parametrize(
    "wanted",
    [
        Section((5,)),
        Section((0,)),
        Section((1, 1)),
        Section((1,), What.HEADER),
        Section((4,), What.TEXT),
        Section((4, 3)),
        Section((4, 2, 1, 1)),
        Section((9,) * 1000),
    ],
)
def test_what_is_not_there_is_none(wanted: Section) -> None:
    """No part with this number, or one that is no message asked for its header."""
    assert section(MESSAGE, wanted) is None


def test_partials_begin_and_end_anywhere() -> None:
    """Of what lies behind the end there is nothing."""
    assert section(MESSAGE, Section((1,)), Partial(1, 5)) == b"ne"
    assert section(MESSAGE, Section((1,)), Partial(3, 5)) == b""
    assert section(MESSAGE, Section(), Partial(2**63, 2**63)) == b""
    assert binary(MESSAGE, (2,), Partial(1, 2)) == b"\1\2"


def test_a_message_without_parts_is_its_own_part_1() -> None:
    """Its MIME header is the header of the message."""
    message = b"Subject: x\r\n\r\nbody\r\n"
    assert section(message, Section((1,))) == b"body\r\n"
    assert section(message, Section((1,), What.MIME)) == b"Subject: x\r\n\r\n"
    assert section(message, Section((1,), What.HEADER)) is None


@pytest.mark.parametrize(
    ("encoding", "body", "decoded"),
    [
        (b"BASE64", b"QUJD\r\nREVG", b"ABCDEF"),
        (b"base64", b"QUJDRA", b"ABCD"),
        (b"base64", b"QQ==QUI=", b"AAB"),
        (b"base64", b"Q!U\0J D-", b"ABC"),
        (b"base64", b"Q", b""),
        (b"quoted-printable", b"a=C3=A4 =\r\nb=zz \t\r\nc_=", b"a\xc3\xa4 b=zz\r\nc_"),
        (b"8bit", b"\xff\r\n", b"\xff\r\n"),
        (b"binary", b"\0\n", b"\0\n"),
    ],
)
def test_transfer_encodings_are_undone(encoding: bytes, body: bytes, decoded: bytes) -> None:
    """Leniently: what does not belong there is skipped, an end may be missing."""
    message = b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + body
    assert binary(message, (1,)) == decoded
    assert binary_size(message, (1,)) == len(decoded)


def test_an_encoding_that_nobody_knows() -> None:
    """Is said to be unknown, rather than sent as if it were none; as a whole the message can be had."""
    message = b"Content-Transfer-Encoding: x-foo\r\n\r\nbody"
    with pytest.raises(UnknownEncoding):
        binary(message, (1,))
    assert binary(message, ()) == message
    assert binary_size(message, (2,)) is None


def test_a_multipart_has_no_encoding() -> None:
    """Its octets are as they are, whatever its header says. RFC 2045 §6.4."""
    message = (
        b"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n\r\n--b\r\n\r\nx\r\n--b--"
    )
    assert binary(b"Content-Type: message/rfc822\r\n\r\n" + message, (1,)) == message
    assert find(structure(message), (1,)) == structure(message).parts[0]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (b"A: 1\r\n\t2\r\nB: 3\r\na : 4\r\n\r\n", b"A: 1\r\n\t2\r\na : 4\r\n\r\n"),
        (b"A: 1\nB: 2\n\n", b"A: 1\n\n"),
        (b"B: 1\r\nA: 2", b"A: 2\r\n"),
        (b"B: 1\r\n", b""),
        (b"no field\r\n A: 1\r\n\r\n", b"\r\n"),
    ],
)
def test_header_fields_stay_as_they_are(header: bytes, found: bytes) -> None:
    """With their folding and line ends, in their order, and with the empty line where the header has one."""
    wanted = Section((), What.FIELDS, ("a",))
    assert section(header, wanted) == found
    rest = section(header, Section((), What.FIELDS_NOT, ("a",)))
    assert rest is not None
    assert sorted((found + rest).split()) == sorted(header.split())
