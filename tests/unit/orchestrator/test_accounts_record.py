"""What the directory keeps of declarations."""

import json

from orchestrator.admin.ownership import Applied, Named
from orchestrator.admin.record import Record

ALICE = Named("account", "alice@example.test")
SALES = Named("alias", "sales@example.test")


def test_read_back() -> None:
    """A record is read as it was written; none yet is an empty one."""
    record = Record(
        applied=Applied(objects={SALES: {"targets": ("a@x.test",), "enabled": True}}, left={ALICE: {"enabled": False}}),
        references={ALICE: "file /secrets/alice"},
    )
    assert Record.parse(str(record)) == record
    assert Record.parse(None) == Record()


def test_of_before() -> None:
    """A record from before things that left were remembered is read."""
    text = json.dumps({"version": 1, "objects": {str(SALES): {"targets": ["a@x.test"], "enabled": True}}})
    assert Record.parse(text) == Record(applied=Applied(objects={SALES: {"targets": ("a@x.test",), "enabled": True}}))
