"""Contacts: people elsewhere whom the users of a domain find in its address book."""

import unicodedata
from dataclasses import dataclass

from maillib.address import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """One entry of a domain's address book. Texts are one line each; empty: not known."""

    domain: str
    """A-labels, lower case."""
    name: str
    """What the person is called; no two of a domain have one `contact_key`."""
    email: Address | None = None
    phone: str = ""
    mobile: str = ""
    organization: str = ""
    title: str = ""
    note: str = ""
    enabled: bool = True


def contact_key(name: str) -> str:
    """A name in the form in which it is compared: NFC, without case, spaces as one. RFC 4518 §2."""
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    return " ".join(text.split())
