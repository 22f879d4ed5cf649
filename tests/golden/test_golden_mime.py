"""Structures, envelopes and sections of odd messages, beside Dovecot's.

`mime/dovecot.json` is what Dovecot says (`python -m tests.support.dovecot` asks it), `mime/ours.json` what we say where
that is something else: for a reason which stands in the corpus. `GOLDEN=write pytest tests/golden` writes ours anew;
review reads the diff. Not looked at: of a part that is not there Dovecot says "" and we NIL; `1.1` of a part 1 that
is neither multipart nor message is the part itself to Dovecot, and not there to us (RFC 9051 §6.4.5.1).
"""

import json
import os
import re
from pathlib import Path

import pytest

from maillib.message.envelope import envelope
from maillib.message.mime import structure
from maillib.message.sections import Section, What, find, section
from maillib.protocols.imap.rendering import render_body, render_envelope
from tests.support.dovecot import ANSWERS, Answers, plain, write
from tests.support.imap_client import parse
from tests.support.mime_corpus import ENVELOPES, ITEMS, STRUCTURES

OURS = ANSWERS.with_name("ours.json")
CORPUS = STRUCTURES | ENVELOPES

_SECTION = re.compile(r"BODY\[((?:[0-9]+\.?)*)([A-Z.]*)(?: \((.*)\))?\]")


def _read(path: Path) -> Answers:
    found: Answers = json.loads(path.read_text("utf-8"))
    return found


def _answer(octets: bytes, item: str) -> object:
    tree = structure(octets)
    if item == "ENVELOPE":
        return plain(parse(render_envelope(envelope(octets[: tree.body])))[0])
    if item in ("BODY", "BODYSTRUCTURE"):
        return plain(parse(render_body(octets, tree, extended=item == "BODYSTRUCTURE"))[0])
    match = _SECTION.fullmatch(item)
    assert match
    wanted = Section(_numbers(match), What(match[2]), tuple((match[3] or "").split()))
    return (section(octets, wanted, tree=tree) or b"").decode("latin-1")


def _numbers(match: re.Match[str]) -> tuple[int, ...]:
    return tuple(int(number) for number in match[1].split(".") if number)


def _is_looked_at(octets: bytes, item: str) -> bool:
    match = _SECTION.fullmatch(item)
    around = find(structure(octets), _numbers(match)[:-1]) if match and "." in match[1].rstrip(".") else None
    return around is None or bool(around.parts or around.message)


@pytest.mark.parametrize("name", CORPUS)
def test_as_dovecot_or_for_a_reason(name: str) -> None:
    """Every item of FETCH is what Dovecot says, or what we have written down, with the reason in the corpus."""
    octets, why = CORPUS[name]
    dovecot = _read(ANSWERS)[name]
    ours = {
        item: answer
        for item in ITEMS
        if _is_looked_at(octets, item) and (answer := _answer(octets, item)) != dovecot[item]
    }
    assert not [item for item in ours if item not in why and "*" not in why], "no reason given"
    assert not why or ours, "a reason for no difference"
    kept = _read(OURS) if OURS.exists() else {}
    if os.environ.get("GOLDEN") == "write" and kept.get(name, {}) != ours:
        kept[name] = ours
        write(OURS, {name: kept[name] for name in CORPUS if kept.get(name)})
    assert kept.get(name, {}) == ours
