"""docs/accounts.md and the models of accounts.yaml say the same."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from orchestrator.admin import accounts_model
from orchestrator.admin.accounts_file import parse_copy

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "accounts.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "kind",
    [
        accounts_model.Domain,
        accounts_model.User,
        accounts_model.MailingList,
        accounts_model.Contact,
        accounts_model.Retrieval,
    ],
)
def test_every_key_is_there(kind: type[BaseModel]) -> None:
    """Each key that may be written is on the page."""
    assert [name for name in kind.model_fields if f"`{name}`" not in PAGE] == []


def test_the_example_is_valid() -> None:
    """The example can be pasted, but for the hash that is cut short."""
    example = PAGE.split("```yaml\n")[1].split("```")[0].replace("$argon2id$v=19$…", HASH)
    assert {named.kind for named in parse_copy(example, Path("accounts.yaml"), Path()).objects} == {
        "domain",
        "account",
        "alias",
        "list",
        "contact",
        "retrieval",
    }


HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21l$c29tZXNhbHRzb21lc29tZXNhbHRzb21l"
