"""Certificate and private key of tls mode files; in mode self-signed, apply makes what is missing or due."""

import datetime
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from maillib.settings.service import TlsFiles
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

SOON = datetime.timedelta(days=14)
_CERTIFICATE, _KEY = ("tls", "certificate"), ("tls", "private_key", "file")


def find(spec: Spec, host: Host) -> Iterator[Finding]:
    files = next((service.config.tls for service in spec.services.values() if service.config.tls), None)
    if spec.tls_mode != "files" or files is None:
        return
    certificate = key_fits = None
    try:
        certificate = _certificate(files)
    except (OSError, ValueError) as error:
        yield UNREADABLE.at(_CERTIFICATE, f"{files.certificate}: {_words(error)}")
    try:
        key_fits = _fits(files, certificate)
    except (OSError, ValueError, TypeError) as error:  # TypeError: it is encrypted
        yield KEY_UNREADABLE.at(_KEY, f"{files.private_key}: {_words(error)}")
    else:
        mode = stat.S_IMODE(Path(files.private_key).stat().st_mode)
        if mode & 0o027:
            said = f"others may read or change {files.private_key} (mode {mode:04o})"
            yield KEY_OPEN.at(_KEY, said, f"chmod 0640 {files.private_key}, or tighter")
    if key_fits is False:
        yield MISMATCH.at(_KEY, f"{files.private_key} is not the key of {files.certificate}")
    if certificate is not None:
        yield from judge(certificate, files.certificate, spec.hostname, host.now)


def judge(certificate: "x509.Certificate", name: str, hostname: str, now: float) -> Iterator[Finding]:
    """In time, and for the right name."""
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
    ends = certificate.not_valid_after_utc
    if ends < moment:
        yield EXPIRED.at(_CERTIFICATE, f"{name} ended on {ends:%Y-%m-%d}")
    elif ends - moment < SOON:
        yield EXPIRES.at(_CERTIFICATE, f"{name} ends on {ends:%Y-%m-%d}")
    if certificate.not_valid_before_utc > moment:
        yield NOT_YET.at(_CERTIFICATE, f"{name} begins on {certificate.not_valid_before_utc:%Y-%m-%d}")
    names = _names(certificate)
    if not any(covers(pattern, hostname) for pattern in names):
        listed = ", ".join(names[:5]) or "no name"
        yield NAMES.at(_CERTIFICATE, f"{name} names {listed}, not {hostname}")


def covers(pattern: str, hostname: str) -> bool:
    """Whether a name in a certificate stands for `hostname`; `*` is one whole label, the first. RFC 6125 §6.4.3."""
    if pattern.startswith("*."):
        return hostname.partition(".")[2].lower() == pattern[2:].lower()
    return pattern.lower() == hostname.lower()


def _certificate(files: TlsFiles) -> "x509.Certificate":
    """The first in the file, which is the server's own. Raises OSError, ValueError."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(Path(files.certificate).read_bytes())


def _fits(files: TlsFiles, certificate: "x509.Certificate | None") -> bool | None:
    """Whether the key is the certificate's; None without one. Raises OSError, ValueError, TypeError."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(Path(files.private_key).read_bytes(), password=None)
    return None if certificate is None else key.public_key() == certificate.public_key()


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
