"""`python -m tests.support.dovecot`: ask a private Dovecot about the messages of `mime_corpus`, keep what it says.

For who changes the corpus; as root, after `apt-get install dovecot-imapd` (asked last: 2.3.19). Octets are Latin-1.
"""

import asyncio
import json
import sys
from pathlib import Path

from benchmarks.dovecot import missing, running
from benchmarks.suite import PASSWORD, USER
from tests.support.imap_client import ImapClient, Value, pairs
from tests.support.mime_corpus import ENVELOPES, ITEMS, STRUCTURES

ANSWERS = Path(__file__).parents[1] / "golden" / "mime" / "dovecot.json"

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
    client = await ImapClient.connect(port)
    await client.log_in(USER, PASSWORD)
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
    if why := missing():
        sys.exit(why)
    with running() as dovecot:
        for case in corpus.values():
            dovecot.fill(1, case.octets)
        answers = asyncio.run(_ask(dovecot.imap_port, list(corpus)))
    write(ANSWERS, answers)


if __name__ == "__main__":
    main()
