"""What the next apply of the same declaration would undo, by what the directory remembers."""

import asyncio
from pathlib import Path

from maillib.address import Address
from maillib.embedded.directory import EmbeddedDirectory
from maillib.ports.directory import Edit, PutAccount, RemoveAlias
from orchestrator.admin import declared
from orchestrator.admin.accounts_file import read_declaration
from orchestrator.admin.undone import undone

DECLARED = """\
version: 1
domains:
  example.test:
    users: {alice: {name: Alice}, bob: {name: Bob}}
    aliases: {sales: [alice]}
"""


def _edit(state_dir: Path, *edits: Edit) -> None:
    async def run() -> None:
        directory = EmbeddedDirectory(state_dir)
        await directory.edit(edits)
        await directory.close()

    asyncio.run(run())


def test_what_was_removed_by_hand_is_undone_a_changed_value_is_not(tmp_path: Path) -> None:
    """A person's own name stays theirs; an alias that was removed comes back."""
    file = tmp_path / "accounts.yaml"
    file.write_text(DECLARED)
    assert undone(tmp_path) == ()
    declared.apply(tmp_path, declared.Order(declaration=read_declaration(file)))
    assert undone(tmp_path) == ()
    _edit(tmp_path, PutAccount(address=Address.parse("alice@example.test"), name="Alice L."))
    assert undone(tmp_path) == ()
    _edit(tmp_path, RemoveAlias(Address.parse("sales@example.test")))
    assert [(action.verb, str(action.object)) for action in undone(tmp_path)] == [("add", "alias sales@example.test")]
