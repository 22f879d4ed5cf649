"""TLS mode self-signed: a private CA and one leaf signed by it.

Layout of STATE_DIR/tls/ (0750):
    ca.pem        certificate of the CA, for clients to trust
    ca-key.pem    its key, 0600: stays here
    cert.pem      the leaf: names the hostname, localhost, 127.0.0.1 and ::1
    key.pem       its key, 0600: read by masters only

A leaf is renewed when less than `RENEW_BEFORE` is left, when the hostname changed or when it does not fit CA or key. It
keeps its key then, so that one rename replaces it and a master never reads half a pair. In mode files nothing is made.
"""

import datetime
import ipaddress
import os
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

RENEW_BEFORE = datetime.timedelta(days=30)
_LEAF_LIFE = datetime.timedelta(days=397)
"""The longest that clients accept for a leaf."""
_CA_LIFE = datetime.timedelta(days=3653)
_BACKDATE = datetime.timedelta(hours=1)
"""Clients whose clock is a little behind accept it at once."""


def folder(state_dir: Path) -> Path:
    return state_dir / "tls"


def leaf(state_dir: Path) -> Path:
    """The file with the certificate that services serve."""
    return folder(state_dir) / "cert.pem"


def due(state_dir: Path, hostname: str) -> str | None:
    """Why `ensure` would make a new leaf; None: it would do nothing."""
    tls = folder(state_dir)
    authority = _certificate(tls / "ca.pem")
    if authority is None or _key(tls / "ca-key.pem") is None:
        return "there is no private CA yet"
    leaf, key = _certificate(tls / "cert.pem"), _key(tls / "key.pem")
    if leaf is None or key is None:
        return "there is no certificate yet"
    if _close_to_end(authority):
        return f"the private CA ends on {authority.not_valid_after_utc:%Y-%m-%d}"
    if _close_to_end(leaf):
        return f"the certificate ends on {leaf.not_valid_after_utc:%Y-%m-%d}"
    if leaf.public_key() != key.public_key() or not _signed_by(leaf, authority):
        return "the certificate does not fit its key or the CA"
    if _names(leaf) != _wanted_names(hostname):
        return "the hostname changed"
    return None


def ensure(state_dir: Path, hostname: str) -> bool:
    """Make what is missing or due. True when the leaf is a new one, so that services have to take it."""
    if due(state_dir, hostname) is None:
        return False
    tls = folder(state_dir)
    tls.mkdir(mode=0o750, parents=True, exist_ok=True)
    authority, authority_key = _certificate(tls / "ca.pem"), _key(tls / "ca-key.pem")
    if authority is None or authority_key is None or _close_to_end(authority):
        authority_key = authority_key or _new_key(tls / "ca-key.pem")
        authority = _sign_authority(authority_key, hostname)
        _write(tls / "ca.pem", authority.public_bytes(serialization.Encoding.PEM), 0o640)
    key = _key(tls / "key.pem") or _new_key(tls / "key.pem")
    leaf = _sign_leaf(key, hostname, authority, authority_key)
    _write(tls / "cert.pem", leaf.public_bytes(serialization.Encoding.PEM), 0o640)
    return True


def way_back(state_dir: Path) -> Callable[[], None]:
    """What puts the certificates back that are there now, should `ensure` replace them. Their keys stay the same."""
    paths = [folder(state_dir) / name for name in ("ca.pem", "cert.pem")]
    before = {path: path.read_bytes() for path in paths if path.exists()}

    def go() -> None:
        for path, data in before.items():
            if path.read_bytes() != data:
                _write(path, data, 0o640)

    return go


def _sign_authority(key: ec.EllipticCurvePrivateKey, hostname: str) -> x509.Certificate:
    name = _name(f"Postroom private CA of {hostname}")
    usage = _usage(key_cert_sign=True, crl_sign=True)
    return (
        _builder(name, name, key, _CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )


def _sign_leaf(
    key: ec.EllipticCurvePrivateKey,
    hostname: str,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        _builder(_name(hostname), authority.subject, key, _LEAF_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_wanted_names(hostname)), critical=False)
        .add_extension(identifier, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, life: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    """64 characters at most. RFC 5280 §A.1, ub-common-name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _wanted_names(hostname: str) -> list[x509.GeneralName]:
    names = dict.fromkeys((hostname, "localhost"))
    addresses = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))
    return [*map(x509.DNSName, names), *map(x509.IPAddress, addresses)]


def _names(leaf: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _close_to_end(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC) < RENEW_BEFORE


def _signed_by(leaf: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _certificate(path: Path) -> x509.Certificate | None:
    """None for what is not there or no certificate: a new one takes its place."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _new_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(path, pem, 0o600)
    return key


def _write(path: Path, data: bytes, mode: int) -> None:
    aside = path.with_suffix(".tmp")
    aside.unlink(missing_ok=True)
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
