"""ENVELOPE and BODYSTRUCTURE, octet for octet; odd messages are in tests/golden, the grammar in tests/property."""

import pytest

from maillib.message.envelope import envelope
from maillib.message.mime import structure
from maillib.protocols.imap.rendering import render_body, render_envelope

# RFC 3501 §7.4.2: the example of ENVELOPE.
HEADER = (
    b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nFrom: Terry Gray <gray@cac.washington.edu>\r\n"
    b"Subject: IMAP4rev1 WG mtg summary and minutes\r\nTo: imap@cac.washington.edu\r\n"
    b"cc: minutes@CNRI.Reston.VA.US,\r\n John Klensin <KLENSIN@MIT.EDU>\r\n"
    b"Message-Id: <B27397-0100000@cac.washington.edu>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n"
)
GRAY = b'(("Terry Gray" NIL "gray" "cac.washington.edu"))'


def test_the_envelope_of_the_rfc() -> None:
    """Sender and Reply-To are those of From, what is absent is NIL."""
    assert render_envelope(envelope(HEADER)) == (
        b'("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev1 WG mtg summary and minutes" '
        + b" ".join((GRAY, GRAY, GRAY))
        + b' ((NIL NIL "imap" "cac.washington.edu")) '
        b'((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU")) '
        b'NIL NIL "<B27397-0100000@cac.washington.edu>")'
    )


@pytest.mark.parametrize(
    ("subject", "rendered"),
    [
        (b"", b'""'),
        (b'a "b" \\c\t', b'"a \\"b\\" \\\\c"'),
        ("ä".encode(), "{2}\r\nä".encode()),
        (b"a\0b", "{5}\r\na\N{REPLACEMENT CHARACTER}b".encode()),
        (b"x" * 1001, b"{1001}\r\n" + b"x" * 1001),
        (b"NIL", b'"NIL"'),
    ],
)
def test_strings(subject: bytes, rendered: bytes) -> None:
    """Quoted as long as they may be; beyond ASCII, and where they are long, literals."""
    header = b"Subject: " + subject + b"\r\n\r\n"
    assert render_envelope(envelope(header)) == b"(NIL " + rendered + b" NIL" * 8 + b")"


BODY = b"".join(b"line %02d\r\n" % number for number in range(10))
MESSAGE = (
    b"Content-Type: MULTIPART/MIXED; BOUNDARY=b\r\nContent-Language: en, de\r\n\r\n--b\r\n"
    b"Content-Type: TEXT/PLAIN; CHARSET=US-ASCII; NAME=cc.diff\r\nContent-ID: <960723163407.20117h@x.test>\r\n"
    b"Content-Description: Compiler diff\r\nContent-Transfer-Encoding: BASE64\r\nContent-MD5: Q2hlY2s=\r\n\r\n" + BODY +
    b"\r\n--b\r\nContent-Type: message/rfc822\r\nContent-Disposition: attachment; filename=x\r\n\r\n"
    b"Subject: in\r\nContent-Type: image/png\r\n\r\nPNG\r\n--b--\r\n"
)  # fmt: skip


def test_a_body_with_and_without_extension_data() -> None:
    """BODY ends where the extension data of BODYSTRUCTURE begins, on every level."""
    tree = structure(MESSAGE)
    text = (
        b'"TEXT" "PLAIN" ("CHARSET" "US-ASCII" "NAME" "cc.diff") "<960723163407.20117h@x.test>" "Compiler diff" '
        b'"BASE64" 90 10'
    )
    message = b'"message" "rfc822" NIL NIL NIL "7bit" 43 (NIL "in"' + b" NIL" * 8 + b") "
    image = b'("image" "png" NIL NIL NIL "7bit" 3'
    assert render_body(MESSAGE, tree, extended=False) == b"((%b)(%b%b) 3) %b)" % (text, message, image, b'"MIXED"')
    assert render_body(MESSAGE, tree, extended=True) == (
        b'((%b "Q2hlY2s=" NIL NIL NIL)(%b%b NIL NIL NIL NIL) 3 NIL ("attachment" ("filename" "x")) NIL NIL) '
        b'"MIXED" ("BOUNDARY" "b") NIL ("en" "de") NIL)' % (text, message, image)
    )


def test_a_message_as_deep_as_it_may_be() -> None:
    """A hundred levels are written without recursion, and closed."""
    bomb = b"Content-Type: message/rfc822\r\n\r\n" * 500
    rendered = render_body(bomb, structure(bomb), extended=True)
    assert rendered.count(b'"rfc822"') == 100
    assert rendered.count(b"(") == rendered.count(b")")
