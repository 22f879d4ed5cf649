"""What `make run` does beside `apply`: passwords for the shipped accounts, and lines to paste.

`secrets` makes each password file that the accounts declaration names under STATE_DIR and that is not there yet;
nothing else is touched. `lines` prints an account, and one line each to send it a message and to read it.
"""

import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

from maillib.secret import SecretRef
from maillib.settings.service import Listener
from orchestrator.admin.accounts_file import Declaration
from orchestrator.cli import accounts
from orchestrator.spec import Spec

_READING = (("imap", "imap", '"/INBOX;MAILINDEX=1"'), ("pop", "pop3", "/1"))
"""Protocols to read by, with the scheme of a URL, and the place of the first message there."""


def main() -> int:
    spec, declared = accounts.read(Path("services.yaml"))
    if sys.argv[1:] == ["secrets"]:
        os.umask(0o027)
        make_passwords(spec.state_dir, declared.declaration)
    else:
        print(lines(spec, declared.declaration))
    return 0


def make_passwords(state_dir: Path, declaration: Declaration | None) -> list[Path]:
    """A password for each declared account whose file under `state_dir` does not exist; the files that were made."""
    made = []
    for _, path in _password_files(declaration):
        if path.exists() or not path.is_relative_to(state_dir):
            continue
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(f"{secrets.token_urlsafe(12)}\n")
        made.append(path)
    return made


def _password_files(declaration: Declaration | None) -> Iterator[tuple[str, Path]]:
    """Address and password file of each declared account that has one."""
    if declaration is None:
        return
    for named, source in declaration.secrets.items():
        if named.kind == "account" and isinstance(source, SecretRef) and source.source == "file":
            yield declaration.written[named], Path(source.name)


def lines(wanted: Spec, declaration: Declaration | None) -> str:
    """For a person with curl; empty where the spec has no account, or no listener to send or to read by."""
    account = next(_password_files(declaration), None)
    submission = _listener(wanted, "smtp", "submission")
    reading = [
        (scheme, place, listener)
        for protocol, scheme, place in _READING
        if (listener := _listener(wanted, protocol, None)) is not None
    ]
    if account is None or submission is None or not reading:
        return ""
    address, file = account
    authority = _short(wanted.state_dir / "tls" / "ca.pem")
    login = f'--cacert {authority} --user "{address}:$(cat {_short(file)})"'
    mail = f"From: {address}\\r\\nTo: {address}\\r\\nSubject: Hello\\r\\n\\r\\nIt works.\\r\\n"
    return "\n".join(
        [
            f"Account: {address}, password in {_short(file)}",
            "Send a message:",
            f"  printf '{mail}' | curl -sS {login} {_url('smtp', submission)} "
            f"--mail-from {address} --mail-rcpt {address} --upload-file -",
            "Read it:",
            *(f"  curl -sS {login} {_url(scheme, listener)}{place}" for scheme, place, listener in reading),
        ]
    )


def _listener(wanted: Spec, protocol: str, role: str | None) -> Listener | None:
    """One with TLS from the first octet, if there is one."""
    found = [
        listener
        for service in wanted.services.values()
        if service.enabled and service.config.protocol == protocol
        for listener in service.config.listen
        if listener.role == role and listener.tls != "none"
    ]
    return min(found, key=lambda listener: listener.tls != "implicit", default=None)


def _url(scheme: str, listener: Listener) -> str:
    return (
        f"{scheme}s://{listener.address}" if listener.tls == "implicit" else f"--ssl-reqd {scheme}://{listener.address}"
    )


def _short(path: Path) -> str:
    """As a person in the current folder would write it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
