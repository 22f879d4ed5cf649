"""A private Postfix beside ours, for comparison: its own configuration, queue and mail, under a scratch folder.

Nothing of the machine's own Postfix is used but its programs. Its master has to be started by root. It syncs as
shipped: the queue file before the 250, the file of the Maildir on delivery. It writes its log to a file, as ours does.
"""

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.suite import HOST, LIMIT_S, USER, free_ports, users_named

POSTFIX = shutil.which("postfix", path=os.environ.get("PATH", "") + ":/usr/sbin")

SERVICES = """
{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


QUEUES = ("incoming", "active", "deferred")


def missing() -> str | None:
    """Why there is no Postfix to compare with."""
    if POSTFIX is None:
        return "no Postfix is installed"
    return None if os.geteuid() == 0 else "Postfix's master needs root"


class Postfix:
    """One that runs. `hold`: what it accepts stays in the queue; else it goes to a Maildir."""

    def __init__(self, folder: Path, users: int, *, hold: bool) -> None:
        self.folder = folder
        (self.smtp_port,) = free_ports(1)
        etc = folder / "etc"
        owner = pwd.getpwnam("postfix")
        for name in ("etc", "queue", "data", "mail"):
            (folder / name).mkdir()
        for name in ("data", "mail"):
            os.chown(folder / name, owner.pw_uid, owner.pw_gid)
        settings = {
            "compatibility_level": "3.6",
            "queue_directory": folder / "queue",
            "data_directory": folder / "data",
            "command_directory": "/usr/sbin",
            "daemon_directory": "/usr/lib/postfix/sbin",
            "mail_owner": "postfix",
            "setgid_group": "postdrop",
            "maillog_file_prefixes": folder,
            "maillog_file": folder / "maillog",
            "myhostname": "mail.example.test",
            "inet_interfaces": HOST,
            "inet_protocols": "ipv4",
            "mydestination": "",
            "local_recipient_maps": "",
            "alias_maps": "",
            "virtual_mailbox_domains": USER.partition("@")[2],
            "virtual_mailbox_maps": f"texthash:{folder / 'etc/mailboxes'}",
            "virtual_mailbox_base": folder / "mail",
            "virtual_mailbox_limit": 0,
            "smtpd_recipient_limit": 10_000,
            "virtual_uid_maps": f"static:{owner.pw_uid}",
            "virtual_gid_maps": f"static:{owner.pw_gid}",
            "smtpd_peername_lookup": "no",
            "smtpd_recipient_restrictions": "reject_unauth_destination" + (", static:HOLD" if hold else ""),
            "in_flow_delay": 0,  # else accepting waits for delivering
        }
        (etc / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        (etc / "mailboxes").write_text("".join(f"{user} {user.partition('@')[0]}/\n" for user in users_named(users)))
        (etc / "master.cf").write_text(SERVICES.format(port=self.smtp_port))
        for name in ("dynamicmaps.cf", "postfix-files"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(f"/etc/postfix/{name}", etc)

    def start(self) -> None:
        self._postfix("start")

    def stop(self) -> None:
        self._postfix("stop")

    @property
    def master(self) -> int:
        """Its pid; every process of it descends from it."""
        return int((self.folder / "queue/pid/master.pid").read_text())

    def delivered(self) -> int:
        """Messages in all Maildirs."""
        return sum(1 for _ in (self.folder / "mail").glob("*/new/*"))

    def wait_until_delivered(self) -> None:
        """Until nothing is in the queue any more."""
        deadline = time.monotonic() + LIMIT_S
        while any(path.is_file() for name in QUEUES for path in (self.folder / "queue" / name).rglob("*")):
            if time.monotonic() > deadline:
                sys.exit(f"after {LIMIT_S:.0f} s there is still something in Postfix's queue")
            time.sleep(0.01)

    def _postfix(self, verb: str) -> None:
        assert POSTFIX is not None
        command = [POSTFIX, "-c", str(self.folder / "etc"), verb]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)}: {done.stdout}{done.stderr}")


@contextlib.contextmanager
def running(users: int = 0, *, hold: bool) -> Iterator[Postfix]:
    """A Postfix that is up, with so many numbered users; stopped and gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="postfix-bench-") as folder:
        Path(folder).chmod(0o755)  # its daemons are not root
        postfix = Postfix(Path(folder), users, hold=hold)
        postfix.start()
        try:
            yield postfix
        finally:
            postfix.stop()
