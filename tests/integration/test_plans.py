"""Plans kept to: what a change costs is what was said, and a sealed plan is done exactly or not at all."""

import contextlib
import json
import poplib
import smtplib
import stat
import threading
from typing import Any

import pytest

from maillib.settings.base import Json
from orchestrator import operate
from tests.support.mail_suite import MailSuite
from tests.support.real_suite import LIMIT_S, LineClient, RealSuite, free_ports, is_refused

pytestmark = pytest.mark.real


def _service(port: int, **more: Json) -> dict[str, Json]:
    return {"protocol": "pop", "listen": [{"address": f"127.0.0.1:{port}"}], **more}


def _limits(connections: int) -> dict[str, Json]:
    return {"limits": {"connections": connections, "connections_per_ip": 100}}


def _moved(suite: RealSuite, file: str) -> dict[str, dict[str, Any]]:
    """What `apply FILE` names as it refuses a stale plan."""
    done = suite.run("apply", file, "--json")
    assert done.code == 75, done
    assert "nothing was changed" in done.err
    return {row.pop("path"): row for row in done.json["moved"]}


class _Loop:
    """A client that comes and goes until told to stop; every refusal counts."""

    def __init__(self, port: int) -> None:
        self.served = 0
        self.wrong: list[str] = []
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with LineClient(self._port) as client:
                    assert client.say("QUIT") == b"+OK QUIT\r\n"
            except (OSError, AssertionError) as error:
                self.wrong.append(repr(error))
            self.served += 1

    def __enter__(self) -> "_Loop":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def test_a_change_costs_what_the_plan_says(line_suite: RealSuite) -> None:
    """With 12 sessions open, a changed limit keeps them all and every process; two services exchange their ports."""
    one, two = free_ports(2)
    line_suite.write({"services": {"one": _service(one, **_limits(500)), "two": _service(two)}})
    line_suite.ok("apply")
    before = line_suite.processes()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(LineClient(one)) for _ in range(12)]
        line_suite.write({"services": {"one": _service(one, **_limits(400)), "two": _service(two)}})
        words = line_suite.ok("plan").out
        assert "one  live     12 sessions kept, no connection refused\n" in words
        assert "/services/one/limits/connections: 500 -> 400\n" in words and "unchanged: two\n" in words
        with _Loop(one) as loop:
            line_suite.ok("apply")
        assert loop.served and loop.wrong == []
        assert line_suite.processes() == before
        assert line_suite.status()["one"]["generation"] == 2

        line_suite.write({"services": {"one": _service(two, **_limits(400)), "two": _service(one)}})
        plan = line_suite.ok("plan", "--json").json
        effects = {action["service"]: action["effect"] for action in plan["actions"]}
        assert sorted(effect["new_connections"] for effect in effects.values()) == ["refused", "uninterrupted"]
        assert effects["one"]["sessions_kept"] == 12 and effects["one"]["listeners_open"] == [f"127.0.0.1:{two}"]
        line_suite.ok("apply")
        assert line_suite.processes() == before
        assert all(client.say("here") == b"+OK here\r\n" for client in clients)
    for port, name in ((two, "one"), (one, "two")):
        with LineClient(port) as client:
            client.say("USER")
            [session] = line_suite.run("sessions", name, "--json").json["sessions"]
            assert session["listener"] == f"127.0.0.1:{port}"


def test_new_settings_reach_new_sessions_of_the_same_workers(mail_suite: MailSuite) -> None:
    """What SMTP and POP announce changes for who connects from then on; no process does, and open sessions go on."""
    mail_suite.start()
    before = mail_suite.processes()
    spec = mail_suite.spec()
    services = spec["services"]
    assert isinstance(services, dict)
    services["smtp"]["settings"] = {"max_message_size": "1MiB"}  # type: ignore[index,call-overload]
    services["pop"]["settings"] = {"login_delay": "7s"}  # type: ignore[index,call-overload]
    with smtplib.SMTP("127.0.0.1", mail_suite.mx, timeout=LIMIT_S) as old:
        old.ehlo()
        size = old.esmtp_features["size"]
        mail_suite.write(spec)
        actions = {action["service"]: action["action"] for action in mail_suite.ok("plan", "--json").json["actions"]}
        assert actions == {"pop": "live", "smtp": "live", "spool": "none"}
        mail_suite.ok("apply")
        with smtplib.SMTP("127.0.0.1", mail_suite.mx, timeout=LIMIT_S) as new:
            new.ehlo()
            assert new.esmtp_features["size"] == "1048576" != size
        pop = poplib.POP3("127.0.0.1", mail_suite.pop, timeout=LIMIT_S)
        assert pop.capa()["LOGIN-DELAY"] == ["7"]
        pop.quit()
        old.ehlo()
        assert old.esmtp_features["size"] == size
    assert mail_suite.processes() == before


def test_an_exchange_that_is_killed_or_fails_half_way_is_mended(line_suite: RealSuite) -> None:
    """A listener that was let go is opened by the next apply; an exchange that fails gives both what they had."""
    one, two = free_ports(2)
    line_suite.write({"services": {"one": _service(one), "two": _service(two)}})
    line_suite.ok("apply")
    # As if it had been killed right after the first step.
    operate.let_go(line_suite.place, "two", f"127.0.0.1:{two}")
    assert is_refused(two)
    actions = {action["service"]: action for action in line_suite.ok("plan", "--json").json["actions"]}
    assert [reason["path"] for reason in actions["two"]["because"]] == [f"/listening/127.0.0.1:{two}"]
    line_suite.ok("apply")
    with LineClient(two) as client:
        assert client.say("QUIT") == b"+OK QUIT\r\n"

    # Another host name makes new workers, which fail; by then the other service has closed its listener.
    line_suite.write({"hostname": "fail.example.test", "services": {"one": _service(two), "two": _service(one)}})
    done = line_suite.run("apply", "--wait", "5s")
    assert done.code == 4 and "told to fail" in done.err, done
    for port in (one, two):
        with LineClient(port) as client:
            assert client.say("QUIT") == b"+OK QUIT\r\n"
    line_suite.ok("status")
    assert line_suite.generation() == 1


def test_a_sealed_plan_is_done_exactly_or_not_at_all(line_suite: RealSuite) -> None:
    """It is done as sealed, whoever connects meanwhile; stale it exits 75 with what moved and by whom; altered, 65."""
    one, two = free_ports(2)

    def write(limit: int, two_drain: str = "60s") -> None:
        drain: dict[str, Json] = {"stop": {"drain": two_drain}}
        line_suite.write({"services": {"one": _service(one, **_limits(limit)), "two": _service(two, **drain)}})

    def seal(name: str) -> str:
        file = line_suite.folder / name
        assert line_suite.run("plan", "-o", str(file), "--detailed-exitcode").code == 2
        assert stat.S_IMODE(file.stat().st_mode) == 0o640
        return str(file)

    write(500)
    line_suite.ok("apply", seal("first"))  # before anything runs, a plan is one as well
    write(400)
    changed = seal("changed")
    line_suite.spec_path.write_text("what the file says meanwhile does not matter: {state_dir: var")
    assert line_suite.run("apply", changed).code == 65  # but which suite is meant has to be plain
    line_suite.spec_path.unlink()
    with LineClient(one):
        line_suite.ok("apply", changed)
    assert "no change: generation 2 holds" in line_suite.ok("apply", changed).out

    write(300)
    stale = seal("stale")
    write(350, two_drain="90s")
    line_suite.ok("apply")
    moved = _moved(line_suite, stale)
    assert moved.keys() == {"/generation", "/services/one/limits/connections", "/services/two/stop/drain"}
    limit = moved["/services/one/limits/connections"]
    assert (limit["before"], limit["after"], limit["verb"]) == (400, 350, "apply")
    assert limit["by"] and limit["when"] and moved["/generation"]["after"] == 3
    assert line_suite.generation() == 3

    write(300, two_drain="90s")
    held = seal("held")
    line_suite.ok("stop", "two", "--reason", "a look inside")
    moved = _moved(line_suite, held)
    assert {"/services/two/hold", "/services/two/state"} <= moved.keys()
    assert "a look inside" in moved["/services/two/hold"]["after"] and moved["/services/two/state"]["verb"] == "stop"
    assert is_refused(two)
    line_suite.ok("start", "two")
    line_suite.ok("apply", held)

    _refuses_what_is_no_plan_of_it(line_suite, held)


def _refuses_what_is_no_plan_of_it(suite: RealSuite, sealed: str) -> None:
    """Each with 65 and a word about what is wrong."""
    file = suite.folder / "broken"
    text = (suite.folder / sealed).read_text()
    content = json.loads(text)
    for broken, words in (
        ("", "not JSON"),
        (text[: len(text) // 2], "cut short"),
        ("[]", "not a JSON object"),
        ("{}", "is no plan"),
        ("[" * 100_000, "not JSON"),
        (text.replace("connections", "connection5", 1), "somebody has changed it"),
        (json.dumps({**content, "schema_version": 2}), "format 2"),
        (json.dumps({**content, "tool": "0.0.1"}), "made by Postroom 0.0.1"),
    ):
        file.write_text(broken)
        done = suite.run("apply", str(file))
        assert done.code == 65 and words in done.err, (broken[:80], done)
    assert suite.run("apply", str(suite.folder / "none")).code == 65
    assert suite.run("apply", sealed, "--prune").code == 64
    other = suite.folder / "other"
    other.mkdir()
    suite.spec_path = other / "services.yaml"
    suite.write({"services": {}})
    done = suite.run("apply", sealed)
    suite.spec_path = suite.folder / "services.yaml"
    assert done.code == 65 and "is a plan for" in done.err


def test_a_sealed_plan_covers_accounts_and_their_secrets(line_suite: RealSuite) -> None:
    """Another secret behind the same reference, or a hand that was faster, makes it stale; strangers do not."""
    [port] = free_ports(1)
    secret = line_suite.folder / "alice.secret"
    secret.write_text("first secret of alice\n")
    alice = {"name": "Alice", "password": {"file": "alice.secret"}}
    accounts = {"version": 1, "domains": {"example.test": {"users": {"alice": alice}}}}
    (line_suite.folder / "accounts.yaml").write_text(json.dumps(accounts))
    line_suite.write({"accounts": "accounts.yaml", "services": {"one": _service(port)}})
    line_suite.ok("apply")

    file = line_suite.folder / "plan"
    secret.write_text("second secret of alice\n")
    alice["name"] = "Alice Liddell"
    (line_suite.folder / "accounts.yaml").write_text(json.dumps(accounts))
    line_suite.ok("plan", "-o", str(file))
    assert "secret of alice" not in file.read_text()
    secret.write_text("third secret of alice\n")
    assert [*_moved(line_suite, str(file))] == ["/accounts/account alice@example.test/password/after"]

    line_suite.ok("plan", "-o", str(file))
    line_suite.ok("alias", "add", "sales@example.test", "alice@example.test")
    line_suite.ok("account", "set", "alice@example.test", "--name", "A. L.")
    [(path, change)] = _moved(line_suite, str(file)).items()
    assert (path, change["after"]) == ("/accounts/account alice@example.test/name/before", "A. L.")
    assert change["verb"] == "account set"

    (line_suite.folder / "accounts.yaml").unlink()
    line_suite.ok("account", "set", "alice@example.test", "--name", "Alice")
    line_suite.ok("apply", str(file))
    assert "Alice Liddell" in line_suite.ok("account", "show", "alice@example.test").out
