"""Both ends of TLS for connections within a test, with the certificates of mode self-signed."""

import ssl
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator import certificates


@cache
def _made() -> tuple[ssl.SSLContext, str]:
    with TemporaryDirectory() as folder:
        certificates.ensure(Path(folder), "mail.example.test")
        tls = certificates.folder(Path(folder))
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(tls / "cert.pem", tls / "key.pem")
        return server, (tls / "ca.pem").read_text()


@cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's, and that of a client which trusts nobody else."""
    server, authority_pem = _made()
    return server, ssl.create_default_context(cadata=authority_pem)


def authority() -> str:
    """The CA that a client has to trust, in PEM."""
    return _made()[1]
