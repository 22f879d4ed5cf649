"""What a directory of an earlier version becomes."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from maillib.address import Address
from maillib.embedded.directory import EmbeddedDirectory, database_path
from maillib.embedded.directory_schema import SCHEMA
from maillib.embedded.sqlite import Database
from maillib.ports.directory import Account, AccountId, Alias, Domain, Entries
from maillib.ports.lists import MailingList

FIRST_VERSION = """
    UPDATE suite SET generation = 7, declared = 'note', fingerprint_key = X'00';
    INSERT INTO domain VALUES (1, 'example.test', 1, 'alice'), (2, 'other.test', 0, NULL);
    INSERT INTO account VALUES (3, 'example.test', 'Alice', 'alice', 'A.', 1, 'pop smtp', 5, 'hash', 'scram', 0);
    INSERT INTO account VALUES (4, 'example.test', 'bob', 'bob', '', 0, NULL, NULL, NULL, NULL, 1);
    INSERT INTO alias VALUES (1, 'example.test', 'sales', 'sales', 1);
    INSERT INTO alias_target VALUES (1, 0, 'example.test', 'alice'), (1, 1, 'elsewhere.test', 'x');
"""


def test_a_directory_of_the_first_version_goes_on(tmp_path: Path) -> None:
    """Everything that was in it is there after the migration, and lists can be made."""
    path = database_path(tmp_path)
    path.parent.mkdir()
    first = Database(path, SCHEMA[:1])
    with first.write() as transaction:
        for statement in FIRST_VERSION.split(";")[:-1]:
            transaction.execute(statement)
    first.close()
    alice = Address("Alice", "example.test")
    expected = Entries(
        generation=7,
        domains=(Domain(name="example.test", postmaster="alice"), Domain(name="other.test", enabled=False)),
        accounts=(Account(AccountId(3), alice, "A.", True, frozenset({"pop", "smtp"}), 5),),
        with_password=frozenset({AccountId(3)}),
        aliases=(
            Alias(
                address=Address("sales", "example.test"),
                targets=(Address("alice", "example.test"), Address("x", "elsewhere.test")),
            ),
        ),
        removed=(Account(AccountId(4), Address("bob", "example.test"), "", False, None, None),),
        declared="note",
    )

    async def main() -> None:
        directory = EmbeddedDirectory(tmp_path)
        try:
            assert await directory.entries() == expected
            await directory.edit([MailingList(address=Address("team", "example.test"), members=(alice,))])
            assert len((await directory.entries()).lists) == 1
        finally:
            await directory.close()

    asyncio.run(main())
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(SCHEMA),)
