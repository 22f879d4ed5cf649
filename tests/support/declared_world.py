"""A declaration of accounts, its secrets, and the directory that it is applied to."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from maillib.embedded.directory import EmbeddedDirectory
from maillib.errors import AuthenticationFailed
from maillib.ports.directory import Edit, Entries
from orchestrator.admin import accounts, declared
from orchestrator.admin.accounts_file import read_declaration
from orchestrator.admin.declared import Order
from orchestrator.admin.wayback import WayBack

T = TypeVar("T")

FILE = """\
version: 1
domains:
  example.test:
    postmaster: alice
    users:
      alice: {name: Alice Liddell, password: {file: alice.pw}, quota: 1GiB}
      bob: {name: Bob, password: {file: bob.pw}, protocols: [smtp]}
    aliases: {sales: [alice, bob, partner@elsewhere.test]}
"""


class World:
    """A declaration, its secrets, and the directory of a state directory."""

    way_back: WayBack
    """From the last apply."""

    def __init__(self, folder: Path) -> None:
        self.state_dir = folder / "var"
        self.folder = folder
        self.secret("alice", "first\n")
        self.secret("bob", "bobs")
        self.write(FILE)

    def secret(self, name: str, text: str) -> None:
        (self.folder / f"{name}.pw").write_text(text)

    def write(self, text: str) -> None:
        (self.folder / "accounts.yaml").write_text(text)

    def order(self, *, prune: bool = False, is_rollback: bool = False) -> Order:
        declaration = read_declaration(self.folder / "accounts.yaml")
        return Order(declaration=declaration, prune=prune, is_rollback=is_rollback)

    def plan(self, *, prune: bool = False) -> list[str]:
        return [str(action) for action in declared.plan(self.state_dir, self.order(prune=prune))]

    def apply(self, *, prune: bool = False, is_rollback: bool = False) -> list[str]:
        """What was done: what the plan had said. Afterwards there is nothing left to do."""
        order = self.order(prune=prune, is_rollback=is_rollback)
        planned = declared.plan(self.state_dir, order)
        actions, self.way_back = declared.apply(self.state_dir, order)
        done = [str(action) for action in actions]
        assert (done, declared.plan(self.state_dir, order)) == (
            [str(replace(one, at_stake=None)) for one in planned],
            (),
        )
        return [str(action) for action in planned]

    def ask(self, question: Callable[[EmbeddedDirectory], Awaitable[T]]) -> T:
        async def main() -> T:
            directory = EmbeddedDirectory(self.state_dir)
            try:
                return await question(directory)
            finally:
                await directory.close()

        return asyncio.run(main())

    def by_hand(self, *edits: Edit) -> None:
        self.ask(lambda directory: directory.edit(edits))

    def logs_in(self, user: str, password: str, service: str = "smtp") -> bool:
        async def log_in(directory: EmbeddedDirectory) -> bool:
            try:
                await directory.authenticate(f"{user}@example.test", password, service=service)
            except AuthenticationFailed:
                return False
            return True

        return self.ask(log_in)

    def entries(self) -> Entries:
        return accounts.entries(self.state_dir)
