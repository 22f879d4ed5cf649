"""What a declaration cannot have beside what is there."""

from orchestrator.admin.clashes import clashes
from orchestrator.admin.ownership import Applied, Fields, Named, Objects, perform, plan_accounts

ALICE = Named("account", "alice@a.test")
X, Y = Named("alias", "x@a.test"), Named("list", "y@a.test")


def told(declared: Objects, live: Objects) -> list[tuple[Named, str]]:
    actions = plan_accounts(declared, Applied(), live)
    return [(one.object, one.message) for one in clashes(declared, actions, perform(actions, live))]


def test_circle() -> None:
    """A circle over something made by hand is told of what is declared, whichever closes it."""
    x: Fields = {"targets": ("y@a.test",), "enabled": True}
    y: Fields = {"members": ("alice@a.test",), "owners": ("X@a.test",), "enabled": True}
    way = (
        "aliases and lists would lead in a circle: {}; some of them were made by hand: break it there, or in the"
        " declaration"
    )
    assert told({Y: y}, {X: x}) == [(Y, way.format("x@a.test -> y@a.test -> x@a.test"))]
    assert told({X: x}, {Y: y}) == [(X, way.format("y@a.test -> x@a.test -> y@a.test"))]
    assert told({X: {"targets": ("elsewhere@b.test",), "enabled": True}}, {X: x, Y: y}) == []


def test_address_of_two() -> None:
    """Of two that are enabled at one address, the declared one is told of; one that is disabled has no address."""
    owner: Fields = {"enabled": True}
    assert [
        named for named, _ in told({Named("list", "z@a.test"): owner}, {Named("account", "z-owner@a.test"): owner})
    ] == [Named("list", "z@a.test")]
    assert (
        told({Named("alias", ALICE.key): {"targets": ("x@b.test",), "enabled": True}}, {ALICE: {"enabled": False}})
        == []
    )
    assert (
        told({Named("alias", ALICE.key): {"targets": ("x@b.test",), "enabled": True}}, {ALICE: {"enabled": True}}) != []
    )
