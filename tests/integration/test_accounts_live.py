"""Declared accounts beside a running suite: who owns a value, what happens to mail, and that no process notices."""

import poplib

import pytest

from maillib.settings.base import Json
from tests.support.mail_suite import ALICE, BOB, PASSWORD, MailSuite
from tests.support.real_suite import LIMIT_S, RealSuite, free_ports

pytestmark = pytest.mark.real

MINE = "a password of her own"
DECLARED = """\
version: 1
domains:
  example.test:
    users:
      alice: {name: Alice, password: {file: alice.pw}}
      bob: {password: {file: bob.pw}}
    lists: {team: {members: [alice, bob], post: anyone}}
"""


def logs_in(suite: MailSuite, user: str, password: str) -> bool:
    client = poplib.POP3("127.0.0.1", suite.pop, timeout=LIMIT_S)
    try:
        client.user(user)
        client.pass_(password)
    except poplib.error_proto:
        return False
    finally:
        client.close()
    return True


def test_accounts_and_a_running_suite(mail_suite: MailSuite) -> None:
    """A password that its user has changed survives an apply; a changed declaration wins; who leaves the file is
    disabled with mail kept, and comes back; an export of it all plans to no change. No process changes meanwhile.
    """
    suite = mail_suite

    def declare(text: str) -> None:
        (suite.folder / "accounts.yaml").write_text(text)

    def secret(name: str, text: str) -> None:
        (suite.folder / f"{name}.pw").write_text(text)

    secret("alice", PASSWORD)
    secret("bob", PASSWORD)
    declare(DECLARED)
    suite.write({**suite.spec(), "accounts": "accounts.yaml"})
    suite.ok("apply")
    suite.send("to the team", "team@example.test")
    for user in (ALICE, BOB):
        suite.wait_for("to the team", user=user)
    pids, processes = suite.pids(), suite.processes()

    # Her own password stays, whatever else of her declaration changes; it goes when its declaration changes.
    secret("mine", MINE)
    suite.ok("account", "password", ALICE, "--password-file", str(suite.folder / "mine.pw"))
    assert suite.ok("apply").out.startswith("no change")
    declare(DECLARED.replace("name: Alice", "name: Alice Liddell"))
    suite.ok("apply")
    assert logs_in(suite, ALICE, MINE)
    secret("alice", "declared anew")
    suite.ok("apply")
    assert (logs_in(suite, ALICE, "declared anew"), logs_in(suite, ALICE, MINE)) == (True, False)
    secret("alice", PASSWORD)
    suite.ok("apply")

    # Who leaves is disabled, mail kept.
    without = DECLARED.replace("      bob: {password: {file: bob.pw}}\n", "").replace(", bob]", "]")
    declare(without)
    assert "disable account bob@example.test" in suite.ok("plan").out
    assert "its mail is kept: 1 message, " in suite.ok("plan").out
    suite.ok("apply")
    assert not logs_in(suite, BOB, PASSWORD)

    declare(DECLARED)
    suite.ok("apply")
    assert suite.subjects(BOB) == ["to the team"]

    # What is exported and declared instead changes nothing.
    suite.ok("export", "accounts", "-o", str(suite.folder / "accounts.yaml"))
    assert suite.run("plan", "--detailed-exitcode").code == 0
    assert (suite.folder / "accounts.yaml").stat().st_mode & 0o777 == 0o600
    suite.ok("apply")
    assert logs_in(suite, ALICE, PASSWORD)
    assert suite.pids() == pids
    assert processes <= suite.processes()  # helpers may come with the first work for them


def test_there_and_back(line_suite: RealSuite) -> None:
    """Where a service does not become ready, the accounts are again as they were; the next apply does it all, and a
    rollback brings the earlier declaration back.
    """
    [port] = free_ports(1)
    accounts = line_suite.folder / "accounts.yaml"

    def declare(hostname: str, text: str) -> None:
        accounts.write_text(text)
        service: Json = {"protocol": "pop", "listen": [{"address": f"127.0.0.1:{port}"}]}
        line_suite.write({"hostname": hostname, "accounts": "accounts.yaml", "services": {"one": service}})

    before = "version: 1\ndomains: {a.test: {users: {alice: {name: Alice}}}}\n"
    after = "version: 1\ndomains: {a.test: {users: {alice: {name: A}, bob: }}, b.test: }\n"
    declare("mail.example.test", before)
    line_suite.ok("apply")
    exported = line_suite.ok("export", "accounts").out
    declare("fail.example.test", after)
    assert line_suite.run("apply", "--wait", "5s").code == 4
    assert line_suite.ok("export", "accounts").out == exported
    declare("mail.example.test", before)
    assert line_suite.ok("plan", "--json").json["accounts"] == []
    declare("other.example.test", after)
    line_suite.ok("apply")
    assert "bob: {}" in line_suite.ok("export", "accounts").out

    # A rollback is an apply of the earlier declaration: who is not in it is disabled.
    line_suite.ok("rollback", "--to", "1")
    exported = line_suite.ok("export", "accounts").out
    assert "alice: {name: Alice}" in exported
    assert "bob: {enabled: false}" in exported
