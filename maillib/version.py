"""Which program this is: its version and a digest of its code, so that a new version is a reason for a restart."""

import hashlib
from pathlib import Path

VERSION = "0.1.0"


def code_digest() -> str:
    """Digest of every source file that a master or worker may run, as it is on disk now. Reads about 1 MB."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256(VERSION.encode())
    for package in ("maillib", "workers"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
