"""Strangers' IMAP clients on a suite that runs: imaplib, IMAPClient, curl, mutt, mbsync, offlineimap, interimap."""

import imaplib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.imap_suite import ImapSuite, on_a_terminal
from tests.support.mail_suite import BOB, PASSWORD

pytestmark = pytest.mark.real

FOLDERS = {"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImapSuite]:
    found = ImapSuite(tmp_path_factory.mktemp("suite"))
    try:
        found.start()
        yield found
    finally:
        found.take_down()


class Account:
    """A user of one test's own."""

    def __init__(self, suite: ImapSuite, name: str) -> None:
        self.suite = suite
        self.user = f"{name}@example.test"
        password = str(suite.folder / "password")
        suite.ok("account", "add", self.user, "--password-file", password, "--quota", "1GiB")

    def put(self, *subjects: str, box: str = "INBOX", flags: str = "") -> None:
        with self.client() as client:
            for subject in subjects:
                assert client.append(box, flags, None, message(subject))[0] == "OK"

    def client(self, box: str | None = None) -> imaplib.IMAP4:
        return self.suite.imap_client(box, self.user)

    def subjects(self, box: str = "INBOX") -> dict[str, set[str]]:
        """Of each message, with its flags."""
        with self.client() as client:
            if client.select(f'"{box}"')[1] == [b"0"]:
                return {}
            found = {}
            for one in client.fetch("1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]:
                if isinstance(one, tuple):
                    flags = {flag.decode() for flag in imaplib.ParseFlags(one[0])}
                    found[one[1].decode().strip().removeprefix("Subject: ")] = flags
            return found

    def state(self) -> dict[str, str]:
        return self.suite.state(self.user)


@pytest.fixture
def account(suite: ImapSuite, request: pytest.FixtureRequest) -> Account:
    return Account(suite, request.node.name.removeprefix("test_").replace("_", "-"))


def message(subject: str, body: str = "körper\r\n.\r\n") -> bytes:
    return f"From: {BOB}\r\nSubject: {subject}\r\nMessage-ID: <{subject}@x.test>\r\n\r\n{body}".encode()


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def run(command: list[str], home: Path) -> str:
    """To its good end; what it printed."""
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment, cwd=home)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout + done.stderr


# Libraries and curl


def test_imaplib(account: Account) -> None:
    """The standard library's client selects, appends, fetches, searches, sets flags, copies, moves, expunges."""
    account.put("one", "two", "three", flags="\\Draft")
    with account.client("INBOX") as client:
        assert client.search(None, "SUBJECT", "two")[1] == [b"2"]
        assert client.store("2", "+FLAGS", "(\\Seen key)")[1] == [b"2 (FLAGS (\\Draft \\Seen key))"]
        ((_, octets), _) = client.fetch("3", "(BODY.PEEK[])")[1]  # type: ignore[misc]
        assert octets == message("three")
        assert client.create("Plans")[0] == client.subscribe("Plans")[0] == "OK"
        assert client.copy("1:2", "Plans")[0] == "OK"
        assert client.uid("MOVE", "3", "Trash")[0] == "OK"
        client.store("1", "+FLAGS", "\\Deleted")
        assert client.expunge()[1][-1] == b"1"
        assert client.getquotaroot("INBOX")[0] == "OK"
        assert client.select("Plans", readonly=True)[1] == [b"2"]
        assert client.close()[0] == "OK"
        assert client.rename("Plans", '"Old plans"')[0] == "OK"
    assert account.subjects("INBOX") == {"two": {"\\Draft", "\\Seen", "key"}}
    assert account.subjects("Old plans") == {"one": {"\\Draft"}, "two": {"\\Draft", "\\Seen", "key"}}
    assert account.subjects("Trash") == {"three": {"\\Draft"}}


def test_imapclient(account: Account) -> None:
    """IMAPClient finds the usual folders by what they are for, names in any alphabet, and hears of mail in IDLE."""
    imapclient = pytest.importorskip("imapclient")
    suite = account.suite
    with imapclient.IMAPClient("localhost", suite.imaps, ssl_context=suite.tls, timeout=30) as client:
        client.login(account.user, PASSWORD)
        assert {name for _, _, name in client.list_folders()} == FOLDERS
        assert client.find_special_folder(b"\\Sent") == "Sent"
        client.create_folder("Entwürfe/日本")
        assert client.folder_exists("Entwürfe/日本")
        client.select_folder("INBOX")
        client.idle()
        suite.send("pushed", account.user)
        heard: list[object] = []
        while (1, b"EXISTS") not in heard:
            heard += client.idle_check(timeout=30)
        client.idle_done()
        assert client.search(["SUBJECT", "pushed"]) == [1]
        fetched = client.fetch([1], ["ENVELOPE", "BODYSTRUCTURE", "RFC822.SIZE"])[1]
        assert fetched[b"ENVELOPE"].subject == b"pushed"
        (quota,) = client.get_quota()
        assert (quota.resource, quota.limit) == ("STORAGE", 1024 * 1024)


def test_curl(account: Account, tmp_path: Path) -> None:
    """curl lists folders, uploads, searches and fetches every octet."""
    upload = tmp_path / "upload"
    upload.write_bytes(message("uploaded"))
    base = f"imaps://localhost:{account.suite.imaps}/"
    curl = [program("curl"), "-sS", "--cacert", str(account.suite.authority), "-u", f"{account.user}:{PASSWORD}"]
    assert all(f'"/" {name}' in run([*curl, base], tmp_path) for name in FOLDERS)
    run([*curl, f"{base}Archive", "-T", str(upload)], tmp_path)
    assert "SEARCH 1" in run([*curl, f"{base}Archive?SUBJECT%20uploaded"], tmp_path)
    done = subprocess.run([*curl, f"{base}Archive;MAILINDEX=1"], capture_output=True, timeout=30, check=True)
    assert done.stdout == message("uploaded")


def test_mutt(account: Account, tmp_path: Path) -> None:
    """mutt opens INBOX, copies one message to another folder of the server, deletes one and flags one."""
    account.put("one", "two", "three")
    rc = tmp_path / "muttrc"
    rc.write_text(
        f'set ssl_ca_certificates_file="{account.suite.authority}" certificate_file="{tmp_path}/certificates"\n'
        f'set folder="imaps://localhost:{account.suite.imaps}" imap_user="{account.user}" imap_pass="{PASSWORD}"\n'
        "set spoolfile=+INBOX quit=yes delete=yes confirmappend=no confirmcreate=no mark_old=no\n"
    )
    keys = (
        "<limit>~s one<enter><copy-message>=Archive<enter><limit>~s two<enter><delete-message>"
        "<limit>~s three<enter><flag-message><limit>all<enter><quit>"
    )
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TERM": "xterm"}
    assert on_a_terminal([program("mutt"), "-n", "-F", str(rc), "-e", f'push "{keys}"'], environment, tmp_path) == 0
    assert account.subjects("INBOX").keys() == {"one", "three"}
    assert "\\Flagged" in account.subjects("INBOX")["three"]
    assert account.subjects("Archive").keys() == {"one"}


# Clients that keep a copy


class Near:
    """A Maildir for each folder, as mbsync and offlineimap keep them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def messages(self, box: str = "INBOX") -> dict[str, str]:
        """Subject to flags."""
        return {
            next(
                line.removeprefix(b"Subject: ").decode().strip()
                for line in path.read_bytes().splitlines()
                if line.startswith(b"Subject: ")
            ): path.name.partition(":2,")[2]
            for path in self._files(box)
        }

    def find(self, subject: str) -> Path:
        return next(path for path in self._files("INBOX") if f"Subject: {subject}\n" in _text(path))

    def add(self, subject: str, box: str = "INBOX") -> None:
        for part in ("tmp", "new", "cur"):
            (self.root / box / part).mkdir(parents=True, exist_ok=True)
        (self.root / box / "new" / f"1795000000.{subject}.near").write_bytes(message(subject).replace(b"\r\n", b"\n"))

    def mark_seen(self, subject: str) -> None:
        path = self.find(subject)
        path.rename(path.parents[1] / "cur" / f"{path.name}S")

    def snapshot(self) -> list[str]:
        return sorted(str(path) for path in self.root.rglob("*") if path.parent.name in ("cur", "new"))

    def _files(self, box: str) -> list[Path]:
        return [path for part in ("new", "cur") for path in (self.root / box / part).glob("*")]


def _text(path: Path) -> str:
    return path.read_text("utf-8").replace("\r\n", "\n")


def mbsync(account: Account, home: Path, root: Path) -> list[str]:
    rc = home / "mbsyncrc"
    rc.write_text(
        f"IMAPAccount far\nHost localhost\nPort {account.suite.imaps}\nUser {account.user}\n"
        f'Pass "{PASSWORD}"\nSSLType IMAPS\nCertificateFile {account.suite.authority}\n\n'
        "IMAPStore far\nAccount far\n\n"
        f"MaildirStore near\nPath {root}/\nInbox {root}/INBOX\nSubFolders Verbatim\n\n"
        "Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nRemove Both\nExpunge Both\nSyncState *\n"
    )
    return [program("mbsync"), "-c", str(rc), "-a"]


def offlineimap(account: Account, home: Path, root: Path) -> list[str]:
    rc = home / "offlineimaprc"
    rc.write_text(
        f"[general]\naccounts = all\nmetadata = {home}/metadata\nui = basic\n"
        "[Account all]\nlocalrepository = near\nremoterepository = far\n"
        f"[Repository near]\ntype = Maildir\nlocalfolders = {root}\n"
        f"[Repository far]\ntype = IMAP\nremotehost = localhost\nremoteport = {account.suite.imaps}\nssl = yes\n"
        f"sslcacertfile = {account.suite.authority}\nremoteuser = {account.user}\nremotepass = {PASSWORD}\n"
    )
    return [program("offlineimap"), "-o", "-c", str(rc)]


@pytest.mark.parametrize("client", [mbsync, offlineimap], ids=["mbsync", "offlineimap"])
def test_both_ways(
    suite: ImapSuite, tmp_path: Path, client: Callable[[Account, Path, Path], list[str]], request: pytest.FixtureRequest
) -> None:
    """New messages, flags, deletions and new folders reach the other side; a run that finds nothing changes nothing."""
    account, near = Account(suite, f"both-{request.node.callspec.id}"), Near(tmp_path / "mail")
    near.root.mkdir()
    command = client(account, tmp_path, near.root)

    def synchronize() -> None:
        run(command, tmp_path)

    account.put("one", "two", "three")
    synchronize()
    assert near.messages() == {"one": "", "two": "", "three": ""}
    with account.client("INBOX") as far:
        far.store("1", "+FLAGS", "\\Flagged")
        far.store("2", "+FLAGS", "\\Deleted")
        far.expunge()
        far.create("Far")
    account.put("six", box="Far")
    near.mark_seen("three")
    near.add("four")
    near.add("five", "Near")
    synchronize()
    assert near.messages() == {"one": "F", "three": "S", "four": ""}
    assert near.messages("Far") == {"six": ""}
    assert account.subjects() == {"one": {"\\Flagged"}, "three": {"\\Seen"}, "four": set()}
    assert account.subjects("Near") == {"five": set()}
    near.find("one").unlink()
    synchronize()
    assert account.subjects().keys() == {"three", "four"}
    before = near.snapshot(), account.state()
    synchronize()
    assert (near.snapshot(), account.state()) == before


def test_interimap(suite: ImapSuite, tmp_path: Path) -> None:
    """interimap keeps two accounts alike, by QRESYNC, with UIDs of their own and everything compressed."""
    accounts = [Account(suite, f"interimap-{side}") for side in ("local", "remote")]
    sides = "".join(
        f"[{side}]\ntype = imaps\nhost = localhost\nport = {suite.imaps}\nusername = {account.user}\n"
        f"password = {PASSWORD}\nSSL_CAfile = {suite.authority}\ncompress = YES\n"
        for side, account in zip(("local", "remote"), accounts, strict=True)
    )
    config = tmp_path / "config"
    config.write_text(f'database = state.db\nlist-mailbox = "*"\n{sides}')
    config.chmod(0o600)
    (tmp_path / ".local/share").mkdir(parents=True)  # it keeps its database there

    def synchronize() -> str:
        return run([program("interimap"), f"--config={config}"], tmp_path)

    accounts[1].put("one", "two", "three")
    synchronize()
    assert accounts[0].subjects().keys() == {"one", "two", "three"}
    with accounts[0].client("INBOX") as local:
        local.store("1", "+FLAGS", "\\Flagged")
    with accounts[1].client("INBOX") as remote:
        remote.store("2", "+FLAGS", "\\Deleted")
        remote.expunge()
        remote.create("New")
    accounts[1].put("four", box="New")
    synchronize()
    for account in accounts:
        assert account.subjects() == {"one": {"\\Flagged"}, "three": set()}
        assert account.subjects("New") == {"four": set()}
    before = [account.state() for account in accounts]
    assert "UID" not in synchronize()
    assert [account.state() for account in accounts] == before
