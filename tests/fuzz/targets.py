"""Every parser of what strangers send, as a target: octets in, a kind of outcome out, nothing raised but our errors.

The kind tells inputs apart that went different ways; the fuzzer goes on from those. A target also checks what always
holds (what is read can be written again, offsets stay inside).
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import pairwise

from maillib.address import Address
from maillib.errors import MailError, PeerError
from maillib.message.dates import sent_date
from maillib.message.downgrade import Downgrade
from maillib.message.envelope import envelope
from maillib.message.fields import fields, mailboxes, of_names
from maillib.message.mime import Part, header_end, structure
from maillib.message.references import own_id, references
from maillib.message.sections import Section, UnknownEncoding, What, binary, section
from maillib.message.subjects import subject
from maillib.message.text import body_text, header_text, part_headers_text, preview
from maillib.message.wire import CrlfLines
from maillib.ports.derived import values_of
from maillib.protocols import pop3, proxy, sasl, smtp
from maillib.protocols.imap import names, parse
from maillib.protocols.imap.commands import Authenticate, Plain
from maillib.protocols.imap.errors import Malformed
from maillib.protocols.imap.events import AppendMessage, BadCommand, LiteralAnnounced, Tagged
from maillib.protocols.imap.patterns import Patterns
from maillib.protocols.imap.rendering import render_body, render_envelope
from maillib.protocols.imap.sequences import SequenceSet, parse_set
from maillib.protocols.imap.server import ImapServer
from maillib.protocols.imap.threads import Threaded, by_references, by_subject, render
from maillib.protocols.smtp_data import DataDecoder


@dataclass(frozen=True, slots=True)
class Target:
    run: Callable[[bytes], Hashable]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()
    """Put in now and then: what the grammar is made of."""


def _imap_connection(octets: bytes) -> Hashable:
    """The first octet says how the session behaves and how the rest is cut."""
    how = octets[0] if octets else 0
    core, kinds = ImapServer(), list[Hashable]()
    if how & 1:
        core.logged_in()
    if how & 2:
        core.use_utf8_names()
    step = max((how >> 3) * 7, len(octets) // 1000) + 1
    try:
        for start in range(1, len(octets), step):
            core.receive(octets[start : start + step])
            while (event := core.next_event()) is not None:
                kinds.append(event.reason if isinstance(event, BadCommand) else type(event).__name__)
                match event:
                    case Tagged(tag, Authenticate()):
                        core.expect_answer(tag)
                    case Tagged(tag, Plain.IDLE):
                        core.expect_done(tag)
                    case AppendMessage() if how & 4:
                        core.refuse_literal()
                    case AppendMessage() | LiteralAnnounced():
                        core.go_ahead()
    except PeerError as error:
        kinds.append(str(error))
    return tuple(kinds[:6])


def _imap_command(octets: bytes) -> Hashable:
    found = parse.command(octets, utf8_names=False)
    hash(found)
    return (
        found.reason if isinstance(found, BadCommand) else (type(found.command).__name__, len(repr(found)).bit_length())
    )


def _imap_name(octets: bytes) -> Hashable:
    kinds = []
    for utf8 in (False, True):
        try:
            name = names.decode(octets, utf8=utf8)
        except Malformed as error:
            kinds.append(error.reason)
        else:
            assert names.encode(name, utf8=utf8) == octets
    return tuple(kinds)


def _imap_set(octets: bytes) -> Hashable:
    found = parse_set(octets)
    assert parse_set(str(found).encode()) == found
    ranges = found.ranges(1000, 2000)
    assert all(one.stop < other.start for one, other in pairwise(ranges))
    return isinstance(found, SequenceSet), len(ranges).bit_length()


def _imap_pattern(octets: bytes) -> Hashable:
    patterns, _, name = octets.decode("latin-1").partition("\n")
    return Patterns(patterns.split(" "), separator="/").match(name[:1000])


def _parts(tree: Part) -> list[Part]:
    found, open_ = list[Part](), [tree]
    while open_:
        part = open_.pop()
        found.append(part)
        open_.extend(part.parts)
        if part.message is not None:
            open_.append(part.message)
    return found


def _mime(octets: bytes) -> Hashable:
    tree = structure(octets)
    parts = _parts(tree)
    assert all(0 <= part.start <= part.body <= part.end <= len(octets) for part in parts)
    for extended in (False, True):
        assert b"\0" not in render_body(octets, tree, extended=extended)
    for what in What:
        section(octets, Section((1,), what, ("Subject",)), None, tree)
    try:
        binary(octets, (1,), None, tree)
    except UnknownEncoding:
        pass
    header = octets[: header_end(octets)]
    for text in (header_text(header), part_headers_text(octets, tree), body_text(octets, tree), preview(octets, tree)):
        text.encode()
    sent_date(header)
    return len(parts).bit_length(), max(len(part.parts) for part in parts).bit_length()


def _header(octets: bytes) -> Hashable:
    written = render_envelope(envelope(octets))
    kind = len(written).bit_length(), written.count(b"(").bit_length()
    for _, value in fields(octets):
        try:
            mailboxes(value)
        except MailError:
            pass
    return kind


def _conversation(octets: bytes) -> Hashable:
    """Headers with NULs between them: every message is in one place of one thread."""
    messages = []
    for number, header in enumerate(octets.split(b"\0")[:50], 1):
        named = of_names(header, (b"message-id", b"references", b"in-reply-to"))
        about = subject("\n".join(values_of(header_text(header), "subject")))
        messages.append(Threaded(number, len(header) % 5, about, own_id(named) or "", references(named)))
    threads = [render(put(messages)) for put in (by_references, by_subject)]
    for shown in threads:
        numbers = sorted(map(int, shown[9:].replace(b"(", b" ").replace(b")", b" ").split()))
        assert numbers == [message.number for message in messages], shown
    return threads[0].count(b"("), threads[1].count(b"("), sum(message.subject.is_reply for message in messages)


def _downgrade(octets: bytes) -> Hashable:
    lines, downgrade = CrlfLines(), Downgrade()
    wire = lines.feed(octets) + lines.finish()
    out = downgrade.feed(wire) + downgrade.finish()
    return len(out) == len(wire), out.isascii()


def _pop(octets: bytes) -> Hashable:
    core, kinds = pop3.Pop3Server(), list[Hashable]()
    core.receive(octets)
    while (event := core.next_event()) is not None:
        kinds.append(event.reason if isinstance(event, pop3.BadCommand) else type(event).__name__)
        if isinstance(event, pop3.Auth):
            core.expect_answer()
    return tuple(kinds[:5])


def _smtp(octets: bytes) -> Hashable:
    verb, argument = smtp.split_command(octets)
    match verb:
        case "MAIL":
            smtp.mail(argument, extended=True)
        case "RCPT":
            smtp.rcpt(argument, smtputf8=True)
        case _:
            smtp.client_name(verb, argument)
    return verb[:4]


def _smtp_data(octets: bytes) -> Hashable:
    decoder = DataDecoder()
    kinds = []
    for start in range(0, len(octets), 5):
        message, rest = decoder.feed(octets[start : start + 5])
        kinds.append(len(message) == 5)
        if rest is not None:
            break
    return tuple(kinds[:8]), decoder.has_bare_line_end


def _proxy(octets: bytes) -> Hashable:
    reader = proxy.HeaderReader()
    reader.receive(octets)
    return reader.done, reader.origin is None


def _sasl(octets: bytes) -> Hashable:
    return type(sasl.Plain().step(sasl.decode_base64(octets))).__name__


def _address(octets: bytes) -> Hashable:
    found = Address.parse(octets.decode("utf-8", "replace"))
    assert Address.parse(str(found)) == found
    return found.is_ascii


_MESSAGE = (
    b'From: =?utf-8?q?J=C3=B6?= <jo@example.test>, Group: a@b.test, "c\\"d" <c@d.test>;\r\n'
    b"Date: Mon, 7 Feb 1994 21:52:25 -0800 (PST)\r\nSubject: x\r\n y\r\nIn-Reply-To: <1@x>\r\n"
    b"Content-Type: multipart/mixed; boundary=\"b\"; p*0*=utf-8''%C3; p*1=x\r\n\r\npre\r\n--b\r\n"
    b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=E4 b=\r\n\r\n"
    b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n"
    b'--b\r\nContent-Type: text/html\r\nContent-Disposition: attachment; filename="a;b"\r\n\r\n<p>x</p>\r\n'
    b"--b--\r\nend\r\n"
)
_MESSAGE_WORDS = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"--b",
        b"--b--",
        b"--",
        b": ",
        b"; ",
        b'"',
        b"(",
        b")",
        b"<",
        b">",
        b",",
        b"=",
        b"*",
    ),
    *(
        b"Content-Type: ",
        b"multipart/mixed; boundary=b",
        b"message/rfc822",
        b"=?utf-8?b?AAAA?=",
        b"\r\n\r\n",
        b"charset=",
    ),
    *(b"Content-Transfer-Encoding: base64\r\n", b"utf-7", b"\xff", b"begin 644 x\r\n", b"x-uuencode", b"@", b":"),
)

_COMMANDS = (
    b"a LOGIN joe {2+}\r\npw",
    b'a LIST (SUBSCRIBED) "" ("*" %) RETURN (STATUS (MESSAGES) CHILDREN)',
    b"a SELECT x (QRESYNC (1 2 1:3 (1,2 3,4)) CONDSTORE)",
    b"a UID FETCH 1:*,5 (BODY.PEEK[1.HEADER.FIELDS (A B)]<0.9> BINARY.SIZE[1] PREVIEW (LAZY)) (CHANGEDSINCE 5)",
    b"a STORE $ (UNCHANGEDSINCE 5) +FLAGS.SILENT (\\Seen x)",
    b'a SEARCH RETURN (MIN) CHARSET utf-8 OR (SEEN NOT FROM "x") SINCE 1-Feb-1994 HEADER a {1+}\r\nb LARGER 5 UID 3',
    b"a SORT (REVERSE DATE) UTF-8 ALL",
    b'a THREAD REFERENCES UTF-8 MODSEQ "/flags/x" all 5',
    b'a ID ("name" NIL)',
    b"a CREATE &AOQ-x (USE (\\Sent))",
)
_COMMAND_WORDS = (
    *(
        b" ",
        b"(",
        b")",
        b"[",
        b"]",
        b"{1}\r\n",
        b"{3+}\r\n",
        b"~{1+}\r\n",
        b'"',
        b"\\",
        b"*",
        b"%",
        b"$",
        b"\0",
        b"\xff",
    ),
    *(
        b"NIL",
        b"NOT ",
        b"OR ",
        b"4294967295",
        b"4294967296",
        b"99999999999999999999",
        b":",
        b",",
        b".",
        b"<",
        b"&",
        b"-",
    ),
    *(
        b"UID ",
        b"FETCH",
        b"APPEND x {3+}\r\nabc",
        b"AUTHENTICATE PLAIN",
        b"IDLE",
        b"DONE",
        b"\r\n",
        b"\n",
        b"\r",
        b"AA==",
    ),
)

TARGETS: dict[str, Target] = {
    "imap": Target(
        _imap_connection,
        (
            b"\x01" + b"\r\n".join(_COMMANDS) + b"\r\n",
            b'\x05a APPEND x (\\Seen) " 7-Feb-1994 21:52:25 -0800" {3+}\r\nabc UTF8 (~{2+}\r\nxy)\r\n',
            b"\x09a APPEND {1+}\r\nx {3}\r\nabc {2+}\r\nxy\r\nb IDLE\r\nDONE\r\n",
            b"\x18a AUTHENTICATE PLAIN\r\nAGEAYg==\r\nb NOOP\r\n",
        ),
        _COMMAND_WORDS,
    ),
    "imap-command": Target(_imap_command, _COMMANDS, _COMMAND_WORDS),
    "imap-name": Target(
        _imap_name,
        (b"INBOX", b"&U,BTFw-/&ZeVnLIqe-", b"&-&AOQ-", "ä".encode(), b"&" * 60_000),
        (b"&", b"-", b"2D0", b","),
    ),
    "imap-pattern": Target(_imap_pattern, (b"a* %/b\na/b/c", b"INB%\nINBOX"), (b"*", b"%", b"/", b" ", b"\n", b"a")),
    "imap-set": Target(_imap_set, (b"1:5,7,*:3", b"4294967295"), (b"*", b":", b",", b"0", b"4294967296")),
    "mime": Target(_mime, (_MESSAGE,), _MESSAGE_WORDS),
    "header": Target(_header, (_MESSAGE[: header_end(_MESSAGE)],), _MESSAGE_WORDS),
    "conversation": Target(
        _conversation,
        (
            b"Message-ID: <a@x>\nSubject: re: x\n\0References: <a@x> <b@x>\nSubject: [l] x (fwd)\n"
            b"\0In-Reply-To: <b@x>\nSubject: [fwd: x]\n",
        ),
        (b"\0", b"\n", b"<a@x>", b"<b@x>", b"Message-ID: ", b"References: ", b"Subject: ", b"re: ", b"[fwd:", b"]"),
    ),
    "downgrade": Target(_downgrade, (_MESSAGE, "Subject: ä\r\nTo: ö <ä@ü.test>\r\n\r\nx".encode()), _MESSAGE_WORDS),
    "pop": Target(
        _pop,
        (b"USER a\r\nPASS b c\r\nRETR 1\r\nTOP 1 2\r\n", b"AUTH PLAIN\r\nAGEAYg==\r\nAUTH PLAIN =\r\n"),
        (b"\r\n", b"\n", b" ", b"\0", b"99999999999999999999", b"*", b"=", b"UIDL ", b"LANG ", b"\xff"),
    ),
    "smtp": Target(
        _smtp,
        (b"MAIL FROM:<a@b.test> SIZE=5 BODY=8BITMIME AUTH=<>", b'RCPT TO:<"a b"@c.test>', b"EHLO [127.0.0.1]"),
        (b"<", b">", b"@", b":", b'"', b"\\", b" ", b"=", b"+", "ä".encode(), b"xn--", b"[IPv6:::1]", b".", b"\0"),
    ),
    "smtp-data": Target(_smtp_data, (b"a\r\n..b\r\n.\r\nQUIT\r\n",), (b"\r\n.\r\n", b"\n.\n", b"\r", b"\n", b".")),
    "proxy": Target(
        _proxy,
        (
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 25\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\x04\xd2\0\x19",
        ),
        (b"PROXY ", b"TCP6 ", b"UNKNOWN", b"::1 ", b"\r\n", b"\x21", b"\x20", b"\x03\0\x04AAAA"),
    ),
    "sasl": Target(_sasl, (b"AGEAYg==", b"="), (b"=", b"AAAA", b"//8=")),
    "address": Target(
        _address, (b"a@b.test", b'"a b"@c.test', "ä@ü.test".encode()), (b"@", b".", b'"', b"\\", b"xn--", b"%", b"!")
    ),
}
