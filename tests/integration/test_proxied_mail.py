"""Mail that comes by a balancer: from a change of the spec to the Received field."""

import shutil
import subprocess

import pytest

from tests.support.mail_suite import ALICE, MailSuite
from tests.support.real_suite import LIMIT_S

pytestmark = pytest.mark.real


def test_a_message_by_a_balancer(mail_suite: MailSuite) -> None:
    """`proxy_from` is taken up by a reload, a service that wants headers gets ready, and Received names the client."""
    if shutil.which("swaks") is None:
        pytest.skip("swaks is not installed")
    mail_suite.start()
    spec = mail_suite.spec()
    spec["services"]["smtp"]["listen"][0]["proxy_from"] = ["127.0.0.0/8"]  # type: ignore[index,call-overload]
    mail_suite.write(spec)
    actions = {action["service"]: action for action in mail_suite.ok("plan", "--json").json["actions"]}
    assert [(actions["smtp"]["action"], why["path"]) for why in actions["smtp"]["because"]] == [
        ("reload", "/services/smtp/listen/0/proxy_from")
    ]
    mail_suite.ok("apply")
    arguments = ["--server", f"127.0.0.1:{mail_suite.mx}", "--to", ALICE, "--from", "sender@elsewhere.test"]
    proxy = ["--proxy-version", "2", "--proxy-family", "AF_INET", "--proxy-protocol", "STREAM"]
    proxy += ["--proxy-command", "PROXY", "--proxy-source", "192.0.2.7", "--proxy-source-port", "4711"]
    proxy += ["--proxy-dest", "127.0.0.1", "--proxy-dest-port", "25", "--header", "Subject: by a balancer"]
    done = subprocess.run(["swaks", *arguments, *proxy], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    mail_suite.wait_for("by a balancer")
    (message,) = mail_suite.messages()
    assert b"[192.0.2.7]" in message.partition(b"by mail.example.test")[0]
    log = (mail_suite.place.state_dir / "log" / "smtp.log").read_text()
    assert " peer=192.0.2.7:4711 " in log and "via=127.0.0.1" in log and "proxy-failed" not in log
