"""Any octets are a message: what is said of it fits together, and nothing is raised."""

from hypothesis import given
from hypothesis import strategies as st

from maillib.message.content import content
from maillib.message.dates import sent_date
from maillib.message.envelope import envelope
from maillib.message.mime import Part, structure
from maillib.message.sections import Partial, Section, UnknownEncoding, What, binary, binary_size, find, section
from maillib.message.text import body_text, field_values, header_text, part_headers_text, preview
from maillib.protocols.imap.rendering import render_body, render_envelope
from tests.support.imap_grammar import answers

FIELDS = [
    *(b"Content-Type: multipart/mixed; boundary=a\r\n", b'content-type: Multipart/Digest; boundary="ab"\n'),
    *(b"Content-Type: message/rfc822\r\n", b"Content-Type: text/html; charset=utf-7\r\n", b"Content-Type: text\r\n"),
    *(b"Content-Transfer-Encoding: base64\r\n", b"Content-Transfer-Encoding: quoted-printable\r\n"),
    *(b"Content-Disposition: attachment; filename*0*=utf-8''%C3; filename*1=x\r\n", b"Content-Language: de, en\r\n"),
    *(b"From: A (b) <a@b.test>, g: <@x:c@d>, e;\r\n", b'To: "a\\"b" <', b"Subject: =?utf-8?q?=C3=A4?=\r\n =?big5?b?"),
    *(b"Date: 1 Jan 2024 10:00 +0100\r\n", b"Cc: ", b"In-Reply-To:\r\n"),
]
PIECES = [
    *(b"\r\n", b"\r\n", b"\n", b"\r", b"\r\n\r\n"),
    *(b"--a\r\n", b"--a--\r\n", b"--ab\r\n", b"--ab--\r\n", b"--", b" ", b"\t"),
    *(b"\0", b"\xff", b"\xc3\xa4", b"=", b"QUJD", b"+2AA-", b"<b>", b"&#55296;", b"<!--"),
    *(b"(", b")", b'"', b"\\", b",", b";"),
]
MESSAGES = st.one_of(
    st.binary(max_size=300), st.lists(st.sampled_from([*FIELDS, *PIECES, *PIECES]), max_size=40).map(b"".join)
)
NUMBERS = st.lists(st.integers(0, 3), max_size=4).map(tuple)


def check_inside(part: Part, start: int, end: int) -> None:
    """The part lies between `start` and `end`, and so do its parts in it, one behind the other."""
    assert start <= part.start <= part.body <= part.end <= end
    assert not (part.parts and part.message)
    position = part.body
    for child in part.parts:
        check_inside(child, position, part.end)
        position = child.end
    if part.message is not None:
        check_inside(part.message, part.body, part.end)
        assert part.message.end == part.end


@given(MESSAGES)
def test_offsets_fit_together(octets: bytes) -> None:
    """Each part is inside the one around it and behind its neighbour; the message is all octets."""
    tree = structure(octets)
    check_inside(tree, 0, len(octets))
    assert (tree.start, tree.end) == (0, len(octets))
    assert section(octets, Section()) == octets
    head, text = section(octets, Section((), What.HEADER)), section(octets, Section((), What.TEXT))
    assert head is not None
    assert text is not None
    assert head + text == octets
    assert head == octets[: tree.body]


@given(MESSAGES, NUMBERS, st.sampled_from(What), st.integers(0, 50), st.integers(1, 50))
def test_sections_fit_together(octets: bytes, numbers: tuple[int, ...], what: What, offset: int, length: int) -> None:
    """A partial is a piece of the whole; header and text of a part that is a message are the part."""
    tree = structure(octets)
    wanted = Section(numbers, what, ("subject", "to"))
    whole = section(octets, wanted)
    partial = section(octets, wanted, Partial(offset, length), tree)
    assert partial == (None if whole is None else whole[offset : offset + length])
    part = find(tree, numbers)
    if numbers and part is not None and part.message is not None and part.message.start == part.body:
        head, text = section(octets, Section(numbers, What.HEADER)), section(octets, Section(numbers, What.TEXT))
        assert (head or b"") + (text or b"") == section(octets, Section(numbers))
    try:
        decoded = binary(octets, numbers, None, tree)
        assert binary_size(octets, numbers, tree) == (None if decoded is None else len(decoded))
    except UnknownEncoding:
        assert part is not None


@given(MESSAGES)
def test_what_is_rendered_can_be_read(octets: bytes) -> None:
    """ENVELOPE, BODY and BODYSTRUCTURE keep to the grammar of RFC 9051 to the letter."""
    tree = structure(octets)
    items = (
        (b"ENVELOPE", render_envelope(envelope(octets[: tree.body]))),
        (b"ENVELOPE", render_envelope(envelope(octets))),
        (b"BODY", render_body(octets, tree, extended=False)),
        (b"BODYSTRUCTURE", render_body(octets, tree, extended=True)),
    )
    answers(b"".join(b"* 1 FETCH (%b %b)\r\n" % item for item in items))


@given(MESSAGES)
def test_text_can_be_kept(octets: bytes) -> None:
    """Whatever comes out as text is text that can be encoded, and its preview is short and on one line."""
    tree = structure(octets)
    header = octets[: tree.body]
    texts = [header_text(header), part_headers_text(octets, tree), body_text(octets, tree), preview(octets, tree)]
    for text in (*texts, *field_values(header, "Subject")):
        text.encode()
    assert len(texts[3]) <= 200
    assert not {"\r", "\n"} & set(texts[3])
    sent_date(octets), content(octets)
