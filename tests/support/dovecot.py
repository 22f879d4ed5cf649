"""`python -m tests.support.dovecot`: ask a private Dovecot about the messages of `mime_corpus`, keep what it says.

For who changes the corpus; as root, after `apt-get install dovecot-imapd` (asked last: 2.3.19). Octets are Latin-1.
"""

import asyncio
import json
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.support.imap_client import ImapClient, Value, pairs
from tests.support.mime_corpus import ENVELOPES, ITEMS, STRUCTURES

ANSWERS = Path(__file__).parents[1] / "golden" / "mime" / "dovecot.json"

_CONFIG = """
base_dir = {place}/run
state_dir = {place}/state
log_path = {place}/log
protocols = imap
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{place}/mail
first_valid_uid = 0
default_internal_user = nobody
default_login_user = nobody
default_internal_group = nogroup
passdb {{
  driver = static
  args = password=x
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={place}/home
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    address = 127.0.0.1
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""

Answers = dict[str, dict[str, object]]
"""Message -> item of FETCH -> answer, as JSON has it: lists, strings and null."""


def plain(value: Value) -> object:
    """As JSON has it."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    return None if value is None else value.decode("latin-1")


def write(path: Path, answers: Answers) -> None:
    """As JSON, a line for each answer."""
    messages = []
    for name, found in answers.items():
        lines = ",\n".join(f" {json.dumps(item)}: {json.dumps(answer)}" for item, answer in found.items())
        messages.append(f"{json.dumps(name)}: {{\n{lines}\n}}")
    path.write_text("{\n" + ",\n".join(messages) + "\n}\n", "utf-8")


async def _ask(port: int, names: list[str]) -> Answers:
    while True:
        try:
            client = await ImapClient.connect(port)
            break
        except ConnectionError:  # it has only been started
            await asyncio.sleep(0.1)
    await client.log_in("joe", "x")
    await client.ok("SELECT INBOX")
    answers: Answers = {}
    for number, name in enumerate(names, 1):
        answers[name] = {}
        for item in ITEMS:
            answer = await client.ok(f"FETCH {number} {item.replace('BODY[', 'BODY.PEEK[')}")
            ((_, value),) = pairs(answer.all(b"FETCH")[0][2])
            answers[name][item] = plain(value)
    await client.log_out()
    return answers


def main() -> None:
    corpus = STRUCTURES | ENVELOPES
    with tempfile.TemporaryDirectory() as folder, socket.socket() as listener:
        place = Path(folder)
        place.chmod(0o755)
        for number, case in enumerate(corpus.values()):
            path = place / "mail" / "cur" / f"{1_000_000_000 + number}.M1P1.host:2,"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(case.octets)
        for name in ("mail", "mail/cur", "mail/new", "mail/tmp", "home"):
            (place / name).mkdir(exist_ok=True)
            shutil.chown(place / name, "nobody", "nogroup")
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        listener.close()
        (place / "conf").write_text(_CONFIG.format(place=place, port=port))
        with subprocess.Popen(["dovecot", "-F", "-c", place / "conf"]) as dovecot:
            try:
                answers = asyncio.run(_ask(port, list(corpus)))
            finally:
                dovecot.terminate()
    write(ANSWERS, answers)


if __name__ == "__main__":
    main()
