"""What does it take to know a message: its structure, its envelope, both as octets, and its text for SEARCH?

CPU time of one thread, best of some rounds. The lower rows are what an attacker would send, a megabyte each: to be read
in a time that grows with the octets only.
"""

import argparse
import time
from collections.abc import Callable

from benchmarks import report
from maillib.message.envelope import envelope
from maillib.message.mime import structure
from maillib.message.text import body_text, header_text, preview
from maillib.protocols.imap.rendering import render_body, render_envelope

_RECEIVED = (
    b"Received: from mx.example.org (mx.example.org [192.0.2.1])\r\n\tby mail.example.net with ESMTPS id 4711\r\n"
    b"\tfor <user@example.net>; Mon, 1 Jan 2024 10:00:00 +0000 (UTC)\r\n"
)
_HEADER = (
    _RECEIVED * 4
    + b"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=sel;\r\n\tbh=" + b"A" * 44 + b";\r\n"
    + b"\tb=" + b"B" * 300 + b"\r\n"
    + b"".join(b"X-Field-%d: some value of it\r\n" % number for number in range(12))
    + b"Date: Mon, 1 Jan 2024 10:00:00 +0000\r\nFrom: Alice Example <alice@example.org>\r\n"
    b'To: Bob Example <bob@example.net>, "Carol, C." <carol@example.net>\r\nCc: dave@example.com\r\n'
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= about the meeting\r\nMessage-ID: <abc@example.org>\r\n"
    b"In-Reply-To: <def@example.net>\r\nReferences: <a@b> <c@d>\r\nMIME-Version: 1.0\r\n"
)  # fmt: skip
MESSAGE = (
    _HEADER + b'Content-Type: multipart/mixed; boundary="=_1"\r\n\r\n'
    b"--=_1\r\nContent-Type: multipart/alternative;\r\n boundary==_2\r\n\r\n"
    b"--=_2\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    + b"Hello there, this is t=C3=A4xt.\r\n" * 55
    + b"--=_2\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    + b"<p>Hello <b>there</b>, this is t=C3=A4xt.</p>\r\n" * 55
    + b'--=_2--\r\n--=_1\r\nContent-Type: application/pdf; name="a.pdf"\r\nContent-Transfer-Encoding: base64\r\n'
    b'Content-Disposition: attachment; filename="a.pdf"\r\n\r\n' + (b"QUJD" * 19 + b"\r\n") * 45 + b"--=_1--\r\n"
)


def _filled(head: bytes, piece: bytes) -> bytes:
    return head + piece * (1_000_000 // len(piece))


_MULTIPART = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
LARGE = {
    "nothing but delimiters": _filled(_MULTIPART, b"--b\r\n"),
    "multiparts within one another": b"".join(
        b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (level, level) for level in range(18_000)
    ),
    "multiparts side by side": _filled(_MULTIPART, b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n"),
    "messages within one another": _filled(b"", b"Content-Type: message/rfc822\r\n\r\n"),
    "addresses": _filled(b"To: ", b"a@b,"),
    "fields": _filled(b"", b"To: a@b\r\n"),
    "parameters": _filled(b"Content-Type: text/plain", b'; a="'),
    "encoded words": _filled(b"Subject: ", b"=?utf-8?q?a?= "),
    "tags": _filled(b"Content-Type: text/html\r\n\r\n", b"<p "),
    "combining marks": _filled(b"\r\n", "\N{COMBINING ACUTE ACCENT}\N{COMBINING DOT BELOW}".encode()),
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args(arguments).rounds
    rows = [
        (name, f"{min(_time(work, MESSAGE, 500) for _ in range(rounds)) * 1e6:.0f}")
        for name, work in (("structure and envelope", _known), ("both as octets, too", _rendered), ("text", _text))
    ]
    report.table(f"A message of {len(MESSAGE)} octets in 3 parts", ("work", "µs"), rows)
    attacks = [
        (name, f"{_time(_rendered, octets, 1) * 1e3:.0f}", f"{_time(_text, octets, 1) * 1e3:.0f}")
        for name, octets in LARGE.items()
    ]
    report.table("A megabyte of one thing", ("of", "structure and envelope, ms", "text, ms"), attacks)


def _known(octets: bytes) -> None:
    envelope(octets[: structure(octets).body])


def _rendered(octets: bytes) -> None:
    tree = structure(octets)
    render_envelope(envelope(octets[: tree.body]))
    render_body(octets, tree, extended=True)


def _text(octets: bytes) -> None:
    tree = structure(octets)
    header_text(octets[: tree.body])
    body_text(octets, tree)
    preview(octets, tree)


def _time(work: Callable[[bytes], None], octets: bytes, times: int) -> float:
    started = time.thread_time()
    for _ in range(times):
        work(octets)
    return (time.thread_time() - started) / times


if __name__ == "__main__":
    print(report.machine())
    main()
