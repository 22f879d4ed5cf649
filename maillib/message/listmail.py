"""What makes a message one of a mailing list: the fields that say so. RFC 2369, RFC 2919.

Guarantees: after `without_list_fields` and with `list_fields` in front, no field of the kind is there twice, and none
says what the writer of the message wanted it to say; but for the lists that it has come through, which are all told.
Nothing else is touched: signatures of others stay good.
"""

from urllib.parse import quote

from maillib.address import Address
from maillib.message import fields
from maillib.message.header import field, one_line

_OF_A_LIST = frozenset(
    {
        "list-id", "list-post", "list-owner", "list-help", "list-subscribe", "list-unsubscribe",
        "list-unsubscribe-post", "precedence",
    }
)  # fmt: skip
"""List-Archive stays, as RFC 2369 §4 wants it for a list that gets its mail from another."""

_BEEN_THERE = "X-BeenThere"
"""Mailman's name for it. It stays, however many lists a message goes through: two that lead to each other by way of
somebody elsewhere are a loop, too."""

_NAME_CHARACTERS = 200


def list_fields(address: Address, owner: Address, *, name: str, takes_mail: bool) -> bytes:
    """`takes_mail` False: only its owners write to the list."""
    post = f"<{_mailto(address)}>" if takes_mail else "NO (only its owners write to this list)"
    return b"".join(
        (
            field("List-Id", *_named(name, f"<{_list_id(address)}>")),
            field("List-Post", post),
            field("List-Owner", f"<{_mailto(owner)}>"),
            field("List-Unsubscribe", f"<{_mailto(owner)}?subject=unsubscribe>"),
            field("Precedence", "list"),  # so that nobody's absence is told to a list; RFC 3834 §2 knows of it
            field(_BEEN_THERE, str(address)),
        )
    )


def has_come_through(header: bytes, address: Address) -> bool:
    """Whether the message was sent by this list already, be it by way of other lists that have replaced its fields."""
    been_there = [value for name, value in fields.fields(header) if name == _BEEN_THERE.lower()]
    return any(value.decode("utf-8", "replace").strip().casefold() == str(address).casefold() for value in been_there)


def without_list_fields(header: bytes) -> bytes:
    """`header`, whole lines, without the fields that `list_fields` writes and their like."""
    return fields.without(header, _OF_A_LIST)


def _list_id(address: Address) -> str:
    return f"{address.local}.{address.domain}"


def _mailto(address: Address) -> str:
    """RFC 6068 §2."""
    return f"mailto:{quote(address.local, safe='!$*+')}@{address.domain}"


def _named(name: str, in_brackets: str) -> list[str]:
    """A name, if there is one, before what it names; in as many lines as it takes. RFC 5322 §3.2.5, RFC 2047 §2."""
    text = one_line(name, most=_NAME_CHARACTERS)
    if not text.isascii():
        from email.header import Header  # seldom needed, and a dozen modules

        return [*Header(text, "utf-8", header_name="List-Id").encode(linesep="\n").split("\n "), in_brackets]
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return [f'"{quoted}" {in_brackets}' if text else in_brackets]
