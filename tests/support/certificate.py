"""A certificate for a service that runs without a suite."""

import subprocess
from pathlib import Path

from maillib.settings.service import TlsFiles

_MAKE = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]


def make_certificate(files: TlsFiles, name: str) -> None:
    """A key that only we can read, and a certificate of its own for `name`."""
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    command = [*_MAKE, *subject, "-keyout", files.private_key, "-out", files.certificate]
    subprocess.run(command, check=True, capture_output=True)
    Path(files.private_key).chmod(0o600)
