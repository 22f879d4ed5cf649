"""Fields of a mailing list."""

import email
import email.policy

import pytest

from maillib.address import Address
from maillib.message.listmail import has_come_through, list_fields, without_list_fields

TEAM = Address("team", "example.test")


def fields_of(address: Address = TEAM, name: str = "", *, takes_mail: bool = True) -> bytes:
    owner = Address(f"{address.local}-owner", address.domain)
    return list_fields(address, owner, name=name, takes_mail=takes_mail)


def test_fields() -> None:
    """A list says what it is, where to write, whom to ask, and that no machine need answer. RFC 2369, RFC 2919."""
    assert fields_of() == (
        b"List-Id: <team.example.test>\r\n"
        b"List-Post: <mailto:team@example.test>\r\n"
        b"List-Owner: <mailto:team-owner@example.test>\r\n"
        b"List-Unsubscribe: <mailto:team-owner@example.test?subject=unsubscribe>\r\n"
        b"Precedence: list\r\n"
        b"X-BeenThere: team@example.test\r\n"
    )


def test_only_owners_write() -> None:
    """A list that nobody but its owners writes to says so. RFC 2369 §3.4."""
    assert b"List-Post: NO (only its owners write to this list)\r\n" in fields_of(takes_mail=False)


@pytest.mark.parametrize("name", ["The team", 'a "b" \\c', "Grüße an alle " * 14, "x" * 200, "two\r\nlines"])
def test_names(name: str) -> None:
    """Whatever a list is called, a reader finds name and ID, and no line is longer than 998 octets."""
    octets = fields_of(name=name)
    assert all(len(line) <= 998 for line in octets.split(b"\r\n"))
    read = email.message_from_bytes(octets + b"\r\n", policy=email.policy.default)
    phrase, _, rest = str(read["List-Id"]).rpartition("<")
    assert rest == "team.example.test>"
    shown = phrase.strip().removeprefix('"').removesuffix('"').replace('\\"', '"').replace("\\\\", "\\")
    assert shown == " ".join(name.split())
    assert read.keys() == ["List-Id", "List-Post", "List-Owner", "List-Unsubscribe", "Precedence", "X-BeenThere"]


def test_odd_addresses() -> None:
    """What has a meaning in a URI is encoded there. RFC 6068 §2."""
    octets = fields_of(Address("a&b?c/ü", "example.test"))
    assert b"<mailto:a%26b%3Fc%2F%C3%BC@example.test>" in octets


@pytest.mark.parametrize(
    ("header", "came"),
    [
        (b"X-BeenThere: team@example.test\r\n", True),
        (b"X-BEENTHERE : Team@\r\n Example.Test\r\n", False),
        (b"X-BeenThere: other@example.test\r\nx-beenthere:\r\n Team@Example.Test \r\n", True),
        (b"X-BeenThere: team@example.test.evil\r\n", False),
        (b"List-Id: <team.example.test>\r\n", False),
    ],
)
def test_has_come_through(header: bytes, came: bool) -> None:
    """A list knows its mail again, in whatever case, and takes no other list for itself."""
    assert has_come_through(header, TEAM) is came


def test_without_list_fields() -> None:
    """Fields of a list are left out with all of their lines; every other octet stays as it was."""
    first, last = b"Received: a\r\n\tb\r\n", b"Subject: List-Id: w\r\nList-Archive: q\r\n"
    kept = first + b"no field\r\n" + last
    assert without_list_fields(first + b"List-Post: x\r\n y\r\nno field\r\nlist-id:z\r\n" + last) == kept
    assert without_list_fields(kept) == kept
