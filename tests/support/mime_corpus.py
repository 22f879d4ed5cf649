"""Messages whose parts, addresses and sections are easily got wrong, and why our answers differ where they do.

`tests/golden/test_golden_mime.py` compares; what Dovecot says is kept beside it, asked by `tests/support/dovecot.py`.
"""

from collections.abc import Mapping
from typing import NamedTuple

SECTIONS = (
    *(
        "HEADER",
        "TEXT",
        "1",
        "1.MIME",
        "1.HEADER",
        "1.TEXT",
        "1.1",
        "1.1.MIME",
        "1.2",
        "2",
        "2.MIME",
        "2.HEADER",
        "2.1",
    ),
    *("HEADER.FIELDS (SUBJECT FROM)", "HEADER.FIELDS.NOT (SUBJECT)"),
)
ITEMS = ("BODYSTRUCTURE", "BODY", "ENVELOPE", *(f"BODY[{section}]" for section in SECTIONS))


class Case(NamedTuple):
    octets: bytes
    why: Mapping[str, str] = {}
    """Item -> why Dovecot's answer is not ours; `*` for all of them."""


_FROM = b"From: a@b.test\r\n"

_UNREADABLE = "a Content-Type that cannot be read is text/plain, RFC 2045 §5.2"
_INVISIBLE = "a multipart without boundary is text/plain, RFC 2045 §5.2; its one empty part would hide the text"
_LINE_END = "the line end before a delimiter belongs to the delimiter, RFC 2046 §5.1.1, behind an inner one, too"
_AS_STORED = "octets are as stored; Dovecot makes CRLF of LF"
_NO_HOST = "an address without domain has the empty string, not MISSING_DOMAIN"
_READS_ON = "what is wrong in one address does not spoil the others"
_UNFOLDED = "unfolded, RFC 5322 §2.2.3, and without the space around it; space within is kept"
_MIME_VERSION = "Content-* fields count without MIME-Version, as most writers of such messages mean them"
_GLOBAL = "message/global is shown as message/rfc822 is, RFC 9051 §9 (media-message)"
_PARAMETERS = "continuations in their order, values with `/` and empty ones whole, no nameless ones"
_NO_EMPTY_LINE = "where the header has no empty line none is made up, RFC 3501 §6.4.5"
_SPELLED = "types are spelled as in the message"
_NUL = "NUL is a character like any other, and shown as U+FFFD"


def _typed(value: bytes) -> bytes:
    return b"Content-Type: " + value + b"\r\n"


def _mixed(rest: bytes, boundary: bytes = b"x") -> bytes:
    return _FROM + _typed(b"multipart/mixed; boundary=" + boundary) + b"\r\n" + rest


STRUCTURES: dict[str, Case] = {
    # RFC 2046 §5.1.1
    "rfc2046 simple": Case(
        b"From: Nathaniel Borenstein <nsb@bellcore.com>\r\nTo: Ned Freed <ned@innosoft.com>\r\n"
        b"Date: Sun, 21 Mar 1993 23:56:48 -0800 (PST)\r\nSubject: Sample message\r\nMIME-Version: 1.0\r\n"
        b'Content-type: multipart/mixed; boundary="simple boundary"\r\n\r\n'
        b"This is the preamble.  It is to be ignored, though it\r\nis a handy place for composition agents.\r\n\r\n"
        b"--simple boundary\r\n\r\nThis is implicitly typed plain US-ASCII text.\r\n"
        b"It does NOT end with a linebreak.\r\n"
        b"--simple boundary\r\nContent-type: text/plain; charset=us-ascii\r\n\r\n"
        b"This is explicitly typed plain US-ASCII text.\r\nIt DOES end with a linebreak.\r\n\r\n"
        b"--simple boundary--\r\n\r\nThis is the epilogue.  It is also to be ignored.\r\n"
    ),
    # RFC 2046 §5.1.5, RFC 1521 appendix C
    "rfc1521 complex": Case(
        b"MIME-Version: 1.0\r\nFrom: Nathaniel Borenstein <nsb@nsb.fv.com>\r\nTo: Ned Freed <ned@innosoft.com>\r\n"
        b"Date: Fri, 07 Oct 1994 16:15:05 -0700 (PDT)\r\nSubject: A multipart example\r\n"
        b"Content-Type: multipart/mixed;\r\n             boundary=unique-boundary-1\r\n\r\n"
        b"This is the preamble area.\r\n"
        b"--unique-boundary-1\r\n\r\n  ... Some text appears here ...\r\n\r\n--unique-boundary-1\r\n"
        b"Content-type: text/plain; charset=US-ASCII\r\n\r\nThis could have been part of the previous part.\r\n\r\n"
        b"--unique-boundary-1\r\nContent-Type: multipart/parallel; boundary=unique-boundary-2\r\n\r\n"
        b"--unique-boundary-2\r\nContent-Type: audio/basic\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n\r\n"
        b"--unique-boundary-2\r\nContent-Type: image/jpeg\r\nContent-Transfer-Encoding: base64\r\n\r\nBBBB\r\n\r\n"
        b"--unique-boundary-2--\r\n\r\n--unique-boundary-1\r\nContent-type: text/enriched\r\n\r\n"
        b"This is <bold><italic>enriched.</italic></bold>\r\n\r\n--unique-boundary-1\r\n"
        b"Content-Type: message/rfc822\r\n\r\n"
        b"From: (mailbox in US-ASCII)\r\nTo: (address in US-ASCII)\r\nSubject: (subject in US-ASCII)\r\n"
        b"Content-Type: Text/plain; charset=ISO-8859-1\r\nContent-Transfer-Encoding: Quoted-printable\r\n\r\n"
        b"  ... Additional text in ISO-8859-1 goes here ...\r\n\r\n--unique-boundary-1--\r\n"
    ),
    "no content type": Case(_FROM + b"\r\nhi\r\n"),
    "html": Case(_FROM + _typed(b"text/html") + b"\r\nhi\r\n"),
    "empty": Case(b"", {"BODY[HEADER.FIELDS (SUBJECT FROM)]": _NO_EMPTY_LINE}),
    "body without header": Case(b"\r\nbody\r\n"),
    "lines that are no header": Case(b"no header at all\r\nsecond\r\n\r\nbody\r\n"),
    "header without body": Case(_FROM + b"Subject: x\r\n", {"BODY[HEADER.FIELDS (SUBJECT FROM)]": _NO_EMPTY_LINE}),
    "header without line end": Case(_FROM + b"Subject: x"),
    "garbage between fields": Case(_FROM + b"garbage line\r\nSubject: s\r\n\r\nhi"),
    "mbox From line": Case(b"From a@b Mon\r\nSubject: s\r\n\r\nhi"),
    "space before colon": Case(_FROM + b"Subject : x\r\nContent-Type : text/html\r\n\r\nhi"),
    "bare CR": Case(_FROM + b"Subject: a\rb\r\nX: y\r\n\r\nhi\rho\r\n"),
    "bare LF": Case(
        b"From: a@b.test\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\nhi\n--x\n\nyo\n--x--\n", {"*": _AS_STORED}
    ),
    "no boundary": Case(_FROM + _typed(b"multipart/mixed") + b"\r\nhi\r\n", {"*": _INVISIBLE}),
    "empty boundary": Case(_mixed(b"--\r\n\r\nhi\r\n----\r\n", b'""'), {"*": _INVISIBLE}),
    "boundary never comes": Case(_mixed(b"hi\r\n")),
    "end only": Case(_mixed(b"--x--\r\n\r\n--x\r\n\r\nhi\r\n")),
    "no end": Case(_mixed(b"--x\r\n\r\nhi\r\n")),
    "no line end behind end": Case(_mixed(b"--x\r\n\r\nhi\r\n--x--")),
    "adjacent delimiters": Case(_mixed(b"--x\r\n--x\r\n\r\nhi\r\n--x--\r\nepi")),
    "part without body": Case(_mixed(b"--x\r\nContent-Type: text/html\r\n--x\r\n\r\nhi\r\n--x--\r\n")),
    "part with empty body": Case(_mixed(b"--x\r\nContent-Type: text/html\r\n\r\n--x\r\n\r\n\r\n--x--\r\n")),
    "more behind the boundary": Case(_mixed(b"--xfoo\r\n\r\nhi\r\n--x-- foo\r\n\r\nmore\r\n--x\r\n\r\nlast\r\n")),
    "delimiter within a line": Case(_mixed(b"pre --x\r\n --x\r\n\r\n--x \r\n\r\nhi\r\n--x--\t\r\n")),
    "longer boundary in preamble": Case(_mixed(b"--xx--\r\n\r\n--x\r\n\r\nhi\r\n--x--\r\n")),
    "boundary with space at its end": Case(_mixed(b"--a b \r\n\r\nhi\r\n--a b --\r\n", b'"a b "')),
    "boundary in pieces": Case(
        _FROM + _typed(b"multipart/mixed; boundary*0=a; boundary*1=b") + b"\r\n--ab\r\n\r\nhi\r\n--ab--\r\n",
        {"BODYSTRUCTURE": _PARAMETERS},
    ),
    "outer boundary begins inner": Case(
        _mixed(
            b"--x\r\n" + _typed(b"multipart/alternative; boundary=xy") + b"\r\n"
            b"--xy\r\n\r\nA\r\n--xy\r\n\r\nBB\r\n--xy--\r\n--x\r\n\r\nCCC\r\n--x--\r\n"
        ),
        {"*": _LINE_END},
    ),
    "inner boundary begins outer": Case(
        _mixed(
            b"--xy\r\n" + _typed(b"multipart/alternative; boundary=x") + b"\r\n"
            b"--x\r\n\r\nA\r\n--x\r\n\r\nBB\r\n--x--\r\n--xy\r\n\r\nCCC\r\n--xy--\r\n",
            b"xy",
        ),
        {"*": _LINE_END},
    ),
    "same boundary twice": Case(
        _mixed(
            b"--x\r\n" + _typed(b"multipart/alternative; boundary=x") + b"\r\n"
            b"--x\r\n\r\nA\r\n--x\r\n\r\nBB\r\n--x--\r\n--x\r\n\r\nCCC\r\n--x--\r\n"
        ),
        {"*": _LINE_END},
    ),
    "inner without end": Case(
        _mixed(
            b"--x\r\n" + _typed(b"multipart/alternative; boundary=y") + b"\r\n"
            b"--y\r\n\r\nA\r\n--y\r\n\r\nBB\r\n--x\r\n\r\nCCC\r\n--x--\r\n"
        )
    ),
    "encoded multipart": Case(
        _FROM + _typed(b"multipart/mixed; boundary=x") + b"Content-Transfer-Encoding: base64\r\n\r\n"
        b"--x\r\n\r\nhi\r\n--x--\r\n"
    ),
    "message": Case(_FROM + _typed(b"message/rfc822") + b"\r\nFrom: c@d.test\r\nSubject: in\r\n\r\ninner\r\n"),
    "message in a message": Case(
        _FROM
        + _typed(b"message/rfc822")
        + b"\r\nSubject: 1\r\n"
        + _typed(b"message/rfc822")
        + b"\r\nSubject: 2\r\n\r\nx\r\n"
    ),
    "encoded message": Case(
        _mixed(
            b"--x\r\n" + _typed(b"message/rfc822") + b"Content-Transfer-Encoding: base64\r\n\r\n"
            b"RnJvbTogeEB5DQoNCmhpDQo=\r\n--x--\r\n"
        ),
        {"*": "an encoded message, which RFC 2046 §5.2.1 forbids, is not looked into: its octets are no header"},
    ),
    "empty message": Case(_mixed(b"--x\r\n" + _typed(b"message/rfc822") + b"\r\n--x--\r\n")),
    "message of header only": Case(
        _mixed(b"--x\r\n" + _typed(b"message/rfc822") + b"\r\nSubject: s\r\n--x--\r\n"), {"*": _LINE_END}
    ),
    "message with parts": Case(
        _mixed(
            b"--x\r\n"
            + _typed(b"message/rfc822")
            + b"\r\nSubject: s\r\n"
            + _typed(b"multipart/mixed; boundary=y")
            + b"\r\n"
            b"--y\r\n\r\nA\r\n--y\r\n\r\nBB\r\n--y--\r\n--x\r\n\r\nend\r\n--x--\r\n"
        ),
        {"*": _LINE_END},
    ),
    "message/global": Case(_FROM + _typed(b"message/global") + b"\r\nSubject: in\r\n\r\ninner\r\n", {"*": _GLOBAL}),
    "digest": Case(
        _FROM + _typed(b"multipart/digest; boundary=x") + b"\r\n--x\r\n\r\nFrom: x@y.test\r\n\r\nhi\r\n"
        b"--x\r\nContent-Type: text/plain\r\n\r\nyo\r\n--x--\r\n"
    ),
    "content type twice": Case(_FROM + _typed(b"text/html; a=b") + _typed(b"text/plain; charset=x") + b"\r\nhi\r\n"),
    "content type without subtype": Case(_FROM + _typed(b"text") + b"\r\nhi\r\n", {"*": _UNREADABLE}),
    "content type without type": Case(_FROM + _typed(b"/plain") + b"\r\nhi\r\n", {"*": _UNREADABLE}),
    "content type empty": Case(_FROM + _typed(b"") + b"\r\nhi\r\n", {"*": _UNREADABLE}),
    "content type without semicolon": Case(
        _FROM + _typed(b"text/plain charset=utf-8") + b"\r\nhi\r\n", {"*": "the type is readable, if no parameter is"}
    ),
    "parameter with garbage": Case(_FROM + _typed(b"text/plain; charset=utf-8 x; foo=bar") + b"\r\nhi\r\n"),
    "parameter without closing quote": Case(
        _FROM + _typed(b'text/plain; charset="utf-8; foo=bar') + b"\r\nhi\r\n",
        {"*": "a quoted string without end goes to the end"},
    ),
    "parameters": Case(
        _FROM
        + _typed(
            b"text/plain;; charset = utf-8 ; (c) foo=ba(x)r; =x; y=; z; name*0*=utf-8''a%20b; name*1=c.txt; "
            b"n2=a b.pdf; n3=\xe4b.pdf; n4=a/b"
        )
        + b"\r\nhi\r\n",
        {"*": _PARAMETERS},
    ),
    "content type in 8 bit": Case(_FROM + _typed(b"\xe4/x; y=z") + b"\r\nhi\r\n"),
    "content type with everything": Case(
        _FROM + _typed(b'TEXT / Plain (c) ; CHARSET="a\\"b\\\\c";Name="x\r\n y"') + b"\r\nhi\r\n"
    ),
    "all content fields": Case(
        b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: (x) base64\r\nContent-ID: <a@b>\r\n"
        b"Content-Description: a\r\n b\r\n"
        b"Content-MD5: abc==\r\nContent-Language: en, de(x), fr-CH\r\nContent-Location: http://a/\r\n b\r\n"
        b"Content-Disposition: attachment; filename=x; size=3; filename*=utf-8''y\r\n\r\nhi\r\n"
    ),
    "content fields without MIME-Version": Case(
        b"Content-Transfer-Encoding: 8bit\r\nContent-ID: <a@b>\r\n\r\nhi\r\n", {"*": _MIME_VERSION}
    ),
    "odd content fields": Case(
        b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit 7bit\r\nContent-Language: en de, ;\r\n"
        b"Content-Disposition: attachment filename=x\r\nContent-ID: <x>\r\nContent-ID: <y>\r\n"
        b'Content-Description: =?utf-8?q?a?= \xe4 (b) "c"\r\n\r\nhi\r\n',
        {"*": "of an encoding that is followed by more the first word counts"},
    ),
    "empty content fields": Case(
        b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: \r\nContent-ID: \r\nContent-Description: \r\n"
        b"Content-MD5: \r\n"
        b"Content-Language: \r\nContent-Location: \r\nContent-Disposition: \r\n\r\nhi\r\n",
        {"*": "a disposition without a word is none"},
    ),
}

ENVELOPES: dict[str, Case] = {
    # RFC 9051 §6.4.8 example, RFC 5322 appendix A
    "rfc3501": Case(
        b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nFrom: Terry Gray <gray@cac.washington.edu>\r\n"
        b"Subject: IMAP4rev1 WG mtg summary and minutes\r\nTo: imap@cac.washington.edu\r\n"
        b"cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\n"
        b"Message-Id: <B27397-0100000@cac.washington.ed>\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n",
        {"BODY": _SPELLED},
    ),
    "rfc5322 A.1.2": Case(
        b'From: "Joe Q. Public" <john.q.public@example.com>\r\nTo: Mary Smith <mary@x.test>, '
        b"jdoe@example.org, Who? <one@y.test>\r\n"
        b'Cc: <boss@nil.test>, "Giant; \\"Big\\" Box" <sysservices@example.net>\r\nDate: Tue, '
        b"1 Jul 2003 10:52:37 +0200\r\n\r\n"
    ),
    "rfc5322 A.1.3": Case(
        b"From: Pete <pete@silly.example>\r\nTo: A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;\r\n"
        b"Cc: Undisclosed recipients:;\r\nDate: Thu, 13 Feb 1969 23:32:54 -0330\r\n\r\n"
    ),
    "rfc5322 A.5": Case(
        b"From: Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>\r\n"
        b"To:A Group(Some people)\r\n     :Chris Jones <c@(Chris's host.)public.example>,\r\n"
        b"         joe@example.org,\r\n  John <jdoe@one.test> (my dear friend); (the end of the group)\r\n"
        b"Cc:(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;\r\n"
        b"Date: Thu,\r\n      13\r\n        Feb\r\n          1969\r\n      23:32\r\n"
        b"               -0330 (Newfoundland Time)\r\n"
        b"Message-ID:              <testabcd.1234@silly.test>\r\n\r\n",
    ),
    "rfc5322 A.6.1": Case(
        b"From: Joe Q. Public <john.q.public@example.com>\r\n"
        b"To: Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example\r\nDate: Tue, "
        b"1 Jul 2003 10:52:37 +0200\r\n\r\n",
        {"*": "an empty place in a list is no address, RFC 5322 §4.4"},
    ),
    "all": Case(
        b"Date: x\r\nSubject: s\r\nFrom: A B <a@b>\r\nTo: c@d, E <e@f>\r\nMessage-ID: <i@j>\r\n"
        b"In-Reply-To: <k@l> (foo)\r\n\r\n"
    ),
    "nothing": Case(b"\r\n"),
    "empty fields": Case(
        b"Date:\r\nSubject: \r\nFrom: \r\nTo: ,\r\nMessage-ID:\r\nIn-Reply-To: \r\n\r\n",
        {"*": "an empty place in a list is no address"},
    ),
    "empty sender": Case(
        b"From: a@b\r\nSender: \r\nReply-To: ,\r\n\r\n", {"*": "an empty place in a list is no address: From stands in"}
    ),
    "groups": Case(b'From: g: a@b, X <c@d>;, e@f\r\nTo: a:;\r\nCc: "A G": ;\r\nSender: x: y@z\r\n\r\n'),
    "groups side by side": Case(
        b"From: a@b\r\nReply-To: g:;\r\nTo: A B: ;\r\nCc: a:;,b:;\r\nBcc: (c)g(d):x@y(e),z@z;(f)\r\n\r\n"
    ),
    "comments": Case(
        b"From: a@b (The Name)\r\nTo: (pre) X (mid) Y <c(q)@(w)d> (post)\r\nCc: (only)\r\nBcc: a(c)@d\r\n"
        b"Reply-To: <a@b> (n)\r\n\r\n",
    ),
    "quoted": Case(
        b'From: "A \\"q\\" \\\\ B" <"a b"@c>\r\nTo: "x"@y, "a\\"b"@c\r\nCc: "A" b "C" <x@y>\r\n'
        b"Bcc: A. B. C <x@y>, J. Doe <x@y>\r\n\r\n"
    ),
    "routes": Case(b"From: <@a,@b:c@d>\r\nTo: X <@a:c@d>\r\n\r\n"),
    "no domain": Case(b"From: MAILER-DAEMON\r\nTo: foo, X <>\r\nCc: <>\r\n\r\n", {"*": _NO_HOST}),
    "8 bit": Case(
        b"From: \xc3\xa4 <\xc3\xb6@\xc3\xbc>\r\nSubject: \xe4 x\r\nTo: =?utf-8?q?a?= =?utf-8?q?b?= <c@d>\r\n"
        b'Cc: "=?utf-8?q?a?=" <x@y>\r\n\r\n'
    ),
    "folded": Case(
        b"Subject: a\r\n b\r\n\t c  d\r\nDate:  Mon,\r\n\t1 Jan  \r\nMessage-ID:\r\n <a@b>\r\n"
        b"In-Reply-To: <a@b>\r\n <c@d>\r\n"
        b"From:\r\n A\r\n\tB\r\n <a@b>\r\n\r\n",
        {"*": _UNFOLDED},
    ),
    "twice": Case(
        b"Subject: one\r\nSubject: two\r\nFrom: a@b\r\nFrom: c@d\r\nDate: 1\r\nDate: 2\r\nTo: a@b\r\nTo: c@d\r\n"
        b"Message-ID: <1>\r\nMessage-ID: <2>\r\n\r\n"
    ),
    "two without comma": Case(b"From: a@b c@d\r\nTo: <a@b\r\nCc: a@b>, x@y\r\n\r\n", {"*": _READS_ON}),
    "without a part": Case(b'From: @b, a@, <@b>, "x\r\nSender: (unclosed a@b\r\n\r\n', {"*": _READS_ON}),
    "name without brackets": Case(
        b"From: a b@c\r\nTo: A <B <a@b>>\r\nCc: A <a@b> <c@d>\r\nBcc: A@B <c@d>\r\n\r\n", {"*": _READS_ON}
    ),
    "semicolons": Case(
        b"To: a@b;c@d\r\nCc: A <a@b>;B <c@d>\r\nReply-To: ;\r\nFrom: x:y:z;, q@r\r\n\r\n", {"*": _READS_ON}
    ),
    "odd domains": Case(
        b"From: a@[1.2.3.4]\r\nTo: a@[x y], a . b @ c . d\r\nCc: a@b@c, <a@b@c>\r\n\r\n", {"*": _READS_ON}
    ),
    "odd dots": Case(b"From: a..b@c\r\nTo: .a@b, a.@b, <a..b@c>\r\n\r\n"),
    "odd names": Case(
        b'From: Foo [bar] <a@b>\r\nTo: "A"<a@b>\r\nReply-To: =?x?q?<?= <a@b>\r\nSender: mailto:a@b\r\n\r\n',
        {"*": _READS_ON},
    ),
    "NUL": Case(b"Subject: a\0b\r\nFrom: a\0b <c\0@d>\r\n\r\n", {"*": _NUL}),
    "CR": Case(b"Subject: a\rb\r\nFrom: a\r <c@d>\r\n\r\n"),
    "message ids": Case(
        b"In-Reply-To: Your message of Mon <a@b>\r\nMessage-ID: no brackets here\r\nReferences: <x>\r\n\r\n"
    ),
    "case": Case(b"SUBJECT: y\r\nfrom: a@b\r\nmessage-id: <x>\r\n\r\n"),
}
