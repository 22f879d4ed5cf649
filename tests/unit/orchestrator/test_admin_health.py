"""What doctor says of queued and stored mail."""

from pathlib import Path

from orchestrator.admin import health, objects
from orchestrator.admin.ownership import Named
from tests.support.store_world import ADDRESSES, ALICE, StoreWorld


def test_damage_is_found_by_a_quick_look(tmp_path: Path) -> None:
    """A message that was set aside, an index that is lost and a folder of nobody: one finding each, none before."""
    state_dir = tmp_path / "var"
    world = StoreWorld(state_dir)
    world.receive("carol@elsewhere.test", ALICE)
    objects.add(state_dir, Named("domain", "example.test"), "example.test", {})
    objects.add(state_dir, Named("account", ADDRESSES[ALICE]), ADDRESSES[ALICE], {})
    assert [*health.find(state_dir)] == []
    for name in ("messages", "corrupt"):
        (state_dir / "spool" / name).mkdir(parents=True, exist_ok=True)
    (state_dir / "spool/corrupt/0123456789abcdef.json").write_text("{")
    (state_dir / "mail/4711").mkdir()
    world.lose()
    found = {finding.kind.id: finding for finding in health.find(state_dir)}
    assert sorted(found) == ["index-damaged", "spool-set-aside", "store-stray"]
    assert ADDRESSES[ALICE] in found["index-damaged"].message and found["index-damaged"].is_error
    assert "0123456789abcdef" in found["spool-set-aside"].message


def test_nothing_is_made_where_nothing_is(tmp_path: Path) -> None:
    """Before the first apply there is no store to look at, and looking makes none."""
    assert [*health.find(tmp_path / "var")] == []
    assert not (tmp_path / "var").exists()
