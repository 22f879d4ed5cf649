"""Mail addresses and domains: one strict parser, one form for comparing.

Guarantees: an `Address` never holds a control character, a space or a second meaning (no source route, percent or bang
routing is understood); `key` is equal for two addresses exactly when they are the same mailbox here.
Leaves to others: the `<>` and parameters around an address (the SMTP session), which domains are ours (Directory).
"""

import re
import unicodedata
from dataclasses import dataclass

from maillib.errors import AddressError

MAX_LOCAL_OCTETS = 64
"""RFC 5321 §4.5.3.1.1."""
MAX_DOMAIN_OCTETS = 255
"""RFC 5321 §4.5.3.1.2."""

_ATOM = r'[^\x00-\x20"(),.:;<>@\[\\\]\x7f]+'
"""atext of RFC 5322 §3.2.3 and all that is not ASCII (RFC 6531 §3.3), by what is left out: `re` takes milliseconds over
a class with ranges far beyond ASCII, and every program pays for it at its start."""
_DOT_ATOM = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_QUOTED = re.compile(r'"(?:[^\x00-\x1f"\\\x7f]|\\[ -~])*"')
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LITERAL = re.compile(r"\[(?:\d{1,3}(?:\.\d{1,3}){3}|IPv6:[0-9A-Fa-f:.]{2,45})\]")


def normalize_domain(text: str) -> str:
    """`text` in A-labels and lower case, a trailing dot dropped. RFC 5890 §2.3.2.1.

    Raises AddressError for what is no host name.
    """
    name = text.removesuffix(".")
    if not name.isascii():
        import idna  # seldom needed, 1 MB of tables

        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise AddressError(f"domain {text!r} is no internationalized domain name: {error}") from None
    name = name.lower()
    if not 0 < len(name) <= MAX_DOMAIN_OCTETS:
        raise AddressError(f"domain {text!r} has no or too many octets (at most {MAX_DOMAIN_OCTETS})")
    for label in name.split("."):
        if not _LABEL.fullmatch(label):
            raise AddressError(f"domain {text!r}: {label!r} is no host name label (letters, digits, inner hyphens)")
    return name


@dataclass(frozen=True, slots=True)
class Address:
    """One mailbox, `local@domain`. RFC 5321 §4.1.2, RFC 6531 §3.3."""

    local: str
    """As written; unquoted when quotes were not needed."""
    domain: str
    """A-labels, lower case; or an address literal in brackets."""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Raises AddressError that says what is wrong. Accepts UTF-8 local parts and U-labels."""
        local, at, domain = text.rpartition("@")
        if not at or not local or not domain:
            raise AddressError(f"{text!r} is not of the form local@domain")
        if has_controls(text):
            raise AddressError(f"{text!r} holds a control character")
        if len(local.encode("utf-8", "surrogatepass")) > MAX_LOCAL_OCTETS:
            raise AddressError(f"local part of {text!r} is longer than {MAX_LOCAL_OCTETS} octets")
        if local.startswith('"'):
            if not _QUOTED.fullmatch(local):
                raise AddressError(f"{text!r}: the quoted local part is malformed")
            bare = re.sub(r"\\(.)", r"\1", local[1:-1])
            if _DOT_ATOM.fullmatch(bare):
                local = bare
        elif not _DOT_ATOM.fullmatch(local):
            raise AddressError(f"{text!r}: the local part is no dot-atom and is not quoted")
        if domain.startswith("["):
            if not _LITERAL.fullmatch(domain):
                raise AddressError(f"{text!r}: the address literal is malformed")
            return cls(local, domain.lower())
        return cls(local, normalize_domain(domain))

    @property
    def key(self) -> str:
        """The form in which addresses are compared: NFC, without case."""
        return f"{local_key(self.local)}@{self.domain}"

    @property
    def is_ascii(self) -> bool:
        return self.local.isascii()

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"


def local_key(local: str) -> str:
    """A local part in the form in which it is compared: NFC, case-folded."""
    if local.isascii():
        return local.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", local).casefold())


def has_controls(text: str) -> bool:
    """C0, DEL, C1, line and paragraph separators, lone surrogates: all that some reader may take for a line end."""
    # Nothing that is printable is one of them, and this is asked often; to look them up takes long.
    return not text.isprintable() and any(unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs") for char in text)
