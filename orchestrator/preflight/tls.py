"""Certificate and private key of tls mode files; in mode self-signed, apply makes what is missing or due."""

import datetime
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.preflight.finding import Finding, Kind, Severity
from orchestrator.preflight.host import Host
from orchestrator.spec import Spec

if TYPE_CHECKING:  # only mode files pays for it
    from cryptography import x509

UNREADABLE = Kind(
    "certificate-unreadable",
    Severity.ERROR,
    "The certificate file is missing, cannot be read, or holds no certificate in PEM form.",
    "name a PEM file with the certificate and its chain",
)
KEY_UNREADABLE = Kind(
    "key-unreadable",
    Severity.ERROR,
    "The private key file is missing, cannot be read, is encrypted, or holds no key in PEM form.",
    "name a PEM file with an unencrypted private key",
)
MISMATCH = Kind(
    "key-mismatch",
    Severity.ERROR,
    "The private key is not that of the certificate.",
    "name the key that the certificate was made for",
)
KEY_OPEN = Kind(
    "key-open",
    Severity.ERROR,
    "The private key can be read by everybody, or written by others than its owner.",
    "chmod 0640 or tighter",
)
EXPIRED = Kind(
    "certificate-expired",
    Severity.ERROR,
    "The certificate is no longer valid.",
    "renew it",
)
NOT_YET = Kind(
    "certificate-not-yet-valid",
    Severity.ERROR,
    "The certificate is not valid yet.",
    "check the clock, or wait",
)
EXPIRES = Kind(
    "certificate-expires",
    Severity.WARNING,
    "The certificate is valid for less than 14 days.",
    "renew it, then `postroom apply`",
)
NAMES = Kind(
    "certificate-names",
    Severity.WARNING,
    "The certificate does not name the hostname of the spec: clients that use this name refuse it.",
    "get a certificate that names it, or set `hostname` to a name it has",
)

_MOST_OCTETS = 1 << 20
"""Of a PEM file: a chain has a few thousand."""
SOON = datetime.timedelta(days=14)
_CERTIFICATE, _KEY = ("tls", "certificate"), ("tls", "private_key", "file")


def find(spec: Spec, host: Host) -> Iterator[Finding]:
    files = next((service.config.tls for service in spec.services.values() if service.config.tls), None)
    if spec.tls_mode != "files" or files is None:
        return
    certificate = Path(files.certificate)
    yield from find_in(certificate, spec.hostname, host.now)
    yield from _find_key(Path(files.private_key), certificate)


def _find_key(path: Path, certificate: Path) -> Iterator[Finding]:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_octets(path), password=None)
    except (OSError, ValueError, TypeError) as error:  # TypeError: it is encrypted
        yield KEY_UNREADABLE.at(_KEY, f"{path}: {_words(error)}")
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o027:
        yield KEY_OPEN.at(_KEY, f"others may read or change {path} (mode {mode:04o})", f"chmod 0640 {path}, or tighter")
    with suppress(OSError, ValueError):  # then `find_in` has told
        if key.public_key() != _certificate(certificate).public_key():
            yield MISMATCH.at(_KEY, f"{path} is not the key of {certificate}")


def find_in(path: Path, hostname: str, now: float) -> Iterator[Finding]:
    """What is wrong with the certificate in the file `path`."""
    try:
        certificate = _certificate(path)
    except (OSError, ValueError) as error:
        yield UNREADABLE.at(_CERTIFICATE, f"{path}: {_words(error)}")
    else:
        yield from judge(certificate, path, hostname, now)


def judge(certificate: "x509.Certificate", path: Path, hostname: str, now: float) -> Iterator[Finding]:
    """In time, and for the right name."""
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
    ends = certificate.not_valid_after_utc
    if ends < moment:
        yield EXPIRED.at(_CERTIFICATE, f"{path} ended on {ends:%Y-%m-%d}")
    elif ends - moment < SOON:
        yield EXPIRES.at(_CERTIFICATE, f"{path} ends on {ends:%Y-%m-%d}")
    if certificate.not_valid_before_utc > moment:
        yield NOT_YET.at(_CERTIFICATE, f"{path} begins on {certificate.not_valid_before_utc:%Y-%m-%d}")
    names = _names(certificate)
    if not any(covers(pattern, hostname) for pattern in names):
        listed = ", ".join(names[:5]) or "no name"
        yield NAMES.at(_CERTIFICATE, f"{path} names {listed}, not {hostname}")


def covers(pattern: str, hostname: str) -> bool:
    """Whether a name in a certificate stands for `hostname`; `*` is one whole label, the first. RFC 6125 §6.4.3."""
    if pattern.startswith("*."):
        return hostname.partition(".")[2].lower() == pattern[2:].lower()
    return pattern.lower() == hostname.lower()


def _certificate(path: Path) -> "x509.Certificate":
    """The first in the file, which is the server's own. Raises OSError, ValueError."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(_octets(path))


def _octets(path: Path) -> bytes:
    """Of a file: a pipe is not waited for, a device not read to its end. Raises OSError."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        return file.read(_MOST_OCTETS)


def _names(certificate: "x509.Certificate") -> list[str]:
    from cryptography import x509

    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))]


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it is encrypted" if isinstance(error, TypeError) else "no PEM that can be read"
