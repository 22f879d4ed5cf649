"""Mail as people have it, made from numbers: the same number is the same message, on every machine.

Half of it is plain text, a third has an HTML alternative, the rest attachments; some 4 KiB on average. One in a hundred
speaks of the RARE word, in its body and in its subject.
"""

import base64
import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

RARE = "quixotic"
ABSENT = "nowhere-to-be-found"

_WORDS = (  # noqa: SIM905 - one word a line would be longer than the rest
    "account agree answer board budget change client college date deadline decision department design draft estimate "
    "figure file finish garden holiday idea invoice item journey kitchen letter library list machine meeting minute "
    "morning number office order paper parcel people plan price project question reason report review room school "
    "season service station street summer table team ticket today tomorrow train travel update village week window "
    "winter work year"
).split()
_NAMES = ("Alice Liddell", "Bob Dobbs", "=?UTF-8?Q?J=C3=BCrgen_M=C3=BCller?=", "Chen Wei", "Dana Scully", "Eve Adams")
_BEGIN = datetime(2023, 1, 1, tzinfo=UTC)


def is_rare(number: int) -> bool:
    return number % 100 == 0


def message(number: int) -> bytes:
    """Lines end with CRLF."""
    chance = random.Random(number)
    when = _BEGIN + timedelta(minutes=17 * number)
    subject = _words(chance, chance.randint(2, 8)).capitalize()
    text = "\r\n".join(_words(chance, 12) for _ in range(min(120, int(chance.lognormvariate(2.6, 0.9)) + 1)))
    if is_rare(number):
        subject, text = f"{subject} {RARE}", f"{text}\r\n{RARE}"
    thread = number - number % 4
    header = [
        f"Return-Path: <list-{number % 7}@lists.example>",
        f"Received: from relay{number % 9}.example by mail.example.test with ESMTPS id {number:x}; {_date(when)}",
        f"DKIM-Signature: v=1; a=rsa-sha256; d=lists.example; s=k1; b={_base64(chance, 256)}",
        f"From: {chance.choice(_NAMES)} <person{number % 50}@lists.example>",
        "To: user@example.test",
        f"Cc: {', '.join(f'person{chance.randrange(50)}@lists.example' for _ in range(chance.randrange(3)))}",
        f"Subject: {subject}",
        f"Date: {_date(when)}",
        f"Message-ID: <{number}@lists.example>",
        *([f"In-Reply-To: <{thread}@lists.example>", f"References: <{thread}@lists.example>"] if number % 4 else []),
        "MIME-Version: 1.0",
    ]
    body = _body(chance, number, text)
    return ("\r\n".join(line for line in header if line != "Cc: ") + "\r\n" + body).encode()


def _body(chance: random.Random, number: int, text: str) -> str:
    plain = f"Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n"
    if number % 100 < 50:
        return plain
    html = "".join(f"<p>{line}</p>\r\n" for line in text.split("\r\n"))
    parts = [plain, f"Content-Type: text/html; charset=utf-8\r\n\r\n<html><body>{html}</body></html>\r\n"]
    alternative = _multipart("alternative", f"alt-{number}", parts)
    if number % 100 < 86:
        return alternative
    file = base64.encodebytes(chance.randbytes(chance.randint(1_000, 9_000))).decode().replace("\n", "\r\n")
    attachment = (
        f'Content-Type: application/pdf; name="{number}.pdf"\r\nContent-Transfer-Encoding: base64\r\n'
        f'Content-Disposition: attachment; filename="{number}.pdf"\r\n\r\n{file}'
    )
    return _multipart("mixed", f"mix-{number}", [alternative, attachment])


def _multipart(kind: str, boundary: str, parts: list[str]) -> str:
    head = f'Content-Type: multipart/{kind}; boundary="{boundary}"\r\n\r\n'
    return head + "".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}--\r\n"


def _words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choices(_WORDS, k=count))


def _base64(chance: random.Random, octets: int) -> str:
    return base64.b64encode(chance.randbytes(octets)).decode()


def _date(when: datetime) -> str:
    return format_datetime(when)
