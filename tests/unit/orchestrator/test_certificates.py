"""The private CA and its leaf, judged by OpenSSL itself."""

import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509

from orchestrator import certificates


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _leaf(state_dir: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((state_dir / "tls/cert.pem").read_bytes())


def _shake_hands(state_dir: Path, name: str) -> None:
    """One handshake over a socket pair; the client checks chain and name as strictly as OpenSSL can."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(state_dir / "tls/cert.pem", state_dir / "tls/key.pem")
    client_context = ssl.create_default_context(cafile=state_dir / "tls/ca.pem")
    client_context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            with server_context.wrap_socket(theirs, server_side=True) as stream:
                stream.recv(1)
        except OSError:
            pass  # the client's verdict is the one that counts

    server = threading.Thread(target=serve)
    server.start()
    try:
        with client_context.wrap_socket(ours, server_hostname=name) as stream:
            stream.send(b"x")
    finally:
        ours.close()
        server.join()
        theirs.close()


@pytest.mark.parametrize("name", ["mail.example.test", "localhost", "127.0.0.1", "::1"])
def test_leaf_is_trusted_under_each_of_its_names(tmp_path: Path, name: str) -> None:
    """A client that trusts ca.pem accepts the hostname, localhost and both loopback addresses, strictly checked."""
    assert certificates.ensure(tmp_path, "mail.example.test")
    _shake_hands(tmp_path, name)


def test_leaf_is_refused_under_another_name(tmp_path: Path) -> None:
    """The leaf is good for its own names only."""
    certificates.ensure(tmp_path, "mail.example.test")
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake_hands(tmp_path, "other.example.test")


def test_authority_may_sign_and_the_leaf_may_not(tmp_path: Path) -> None:
    """CA:TRUE stands in the CA and not in the leaf, so that a leaked leaf key signs nothing."""
    certificates.ensure(tmp_path, "mail.example.test")
    authority = x509.load_pem_x509_certificate((tmp_path / "tls/ca.pem").read_bytes())
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not _leaf(tmp_path).extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_keys_are_private(tmp_path: Path) -> None:
    """Nobody but the owner reads a key; the folder is closed to others."""
    certificates.ensure(tmp_path, "mail.example.test")
    assert _mode(tmp_path / "tls/ca-key.pem") == 0o600
    assert _mode(tmp_path / "tls/key.pem") == 0o600
    assert _mode(tmp_path / "tls") & 0o007 == 0


def test_nothing_is_made_twice(tmp_path: Path) -> None:
    """A second call with the same hostname changes no file."""
    certificates.ensure(tmp_path, "mail.example.test")
    before = {path: path.read_bytes() for path in (tmp_path / "tls").iterdir()}
    assert not certificates.ensure(tmp_path, "mail.example.test")
    assert {path: path.read_bytes() for path in (tmp_path / "tls").iterdir()} == before


def test_new_hostname_renews_leaf_under_the_same_authority(tmp_path: Path) -> None:
    """Clients that trust the CA already accept the leaf for the new hostname."""
    certificates.ensure(tmp_path, "mail.example.test")
    authority = (tmp_path / "tls/ca.pem").read_bytes()
    assert certificates.due(tmp_path, "new.example.test") == "the hostname changed"
    assert certificates.ensure(tmp_path, "new.example.test")
    assert (tmp_path / "tls/ca.pem").read_bytes() == authority
    _shake_hands(tmp_path, "new.example.test")


def test_leaf_that_ends_soon_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leaf with less left than the renewal margin is due, and the new one is not."""
    monkeypatch.setattr(certificates, "_LEAF_LIFE", certificates.RENEW_BEFORE / 2)
    certificates.ensure(tmp_path, "mail.example.test")
    monkeypatch.undo()
    reason = certificates.due(tmp_path, "mail.example.test")
    assert reason is not None and reason.startswith("the certificate ends on")
    assert certificates.ensure(tmp_path, "mail.example.test")
    assert certificates.due(tmp_path, "mail.example.test") is None


def test_damaged_leaf_is_replaced(tmp_path: Path) -> None:
    """A certificate file that is no certificate does not stop anything: a new one takes its place."""
    certificates.ensure(tmp_path, "mail.example.test")
    (tmp_path / "tls/cert.pem").write_text("garbage")
    assert certificates.ensure(tmp_path, "mail.example.test")
    _shake_hands(tmp_path, "localhost")


def test_replaced_certificate_can_be_put_back(tmp_path: Path) -> None:
    """After a change that failed, the leaf is the one that was there before, and still fits key and CA."""
    certificates.ensure(tmp_path, "mail.example.test")
    before = _leaf(tmp_path)
    put_back = certificates.way_back(tmp_path)
    assert certificates.ensure(tmp_path, "other.example.test")
    assert _leaf(tmp_path) != before
    put_back()
    assert _leaf(tmp_path) == before
    assert certificates.due(tmp_path, "mail.example.test") is None
    _shake_hands(tmp_path, "mail.example.test")
