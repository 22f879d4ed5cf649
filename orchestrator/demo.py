"""What `make run` does beside `apply`: passwords for the shipped accounts, and lines to paste.

`secrets` makes each password file that accounts.yaml names under STATE_DIR and that is not there yet; nothing else is
touched. `lines` prints an account, and one line each to send it a message and to read it.
"""

import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

from maillib.settings.service import Listener
from orchestrator import spec as spec_
from orchestrator import yamltext
from orchestrator.spec import Spec


def main() -> int:
    wanted = spec_.read(Path("services.yaml"))
    if sys.argv[1:] == ["secrets"]:
        make_passwords(wanted)
    else:
        print(lines(wanted))
    return 0


def make_passwords(wanted: Spec) -> None:
    """A password for each declared user whose file under the state directory does not exist."""
    for _, path in declared(wanted):
        if path.exists() or not path.is_relative_to(wanted.state_dir):
            continue
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(f"{secrets.token_urlsafe(12)}\n")


def declared(wanted: Spec) -> Iterator[tuple[str, Path]]:
    """Address and password file of each declared user that has one."""
    if wanted.accounts is None:
        return
    top = yamltext.read(wanted.accounts).value
    domains = top.get("domains") if isinstance(top, dict) else None
    for domain, entry in domains.items() if isinstance(domains, dict) else ():
        users = entry.get("users") if isinstance(entry, dict) else None
        for name, user in users.items() if isinstance(users, dict) else ():
            password = user.get("password") if isinstance(user, dict) else None
            file = password.get("file") if isinstance(password, dict) else None
            if isinstance(file, str):
                yield f"{name}@{domain}", wanted.accounts.parent / file


def lines(wanted: Spec) -> str:
    """For a person with curl; empty where the spec has no account, submission or pop listener to show."""
    account = next(declared(wanted), None)
    submission, pop = _listener(wanted, "smtp", "submission"), _listener(wanted, "pop", None)
    if account is None or submission is None or pop is None:
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
            f"  curl -sS {login} {_url('pop3', pop)}/1",
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
