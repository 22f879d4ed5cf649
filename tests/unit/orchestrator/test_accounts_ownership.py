"""Who owns which value: what a plan of accounts changes, and why."""

import pytest

from orchestrator.admin.ownership import Fields, Named, Objects, plan_accounts

DOMAIN = Named("domain", "example.test")
ALICE = Named("account", "alice@example.test")
BOB = Named("account", "bob@example.test")
SALES = Named("alias", "sales@example.test")

LIVE: Fields = {"name": "", "quota": None, "protocols": None, "enabled": True}
"""An account as a person makes it."""


def lines(declared: Objects, applied: Objects, live: Objects) -> list[str]:
    return [str(action) for action in plan_accounts(declared, applied, live)]


def test_new() -> None:
    """What is declared and not there is made, in the order of the declaration."""
    declared: Objects = {DOMAIN: {"enabled": True}, ALICE: {"enabled": True}}
    assert lines(declared, {}, {}) == [
        "add domain example.test (new in the declaration)",
        "add account alice@example.test (new in the declaration)",
    ]


def test_nothing_changed() -> None:
    """Equal declaration: nothing to do, whatever a person has changed."""
    declared: Objects = {ALICE: {"name": "A", "quota": 5, "password": "print", "enabled": True}}
    live: Objects = {ALICE: {**LIVE, "name": "by hand", "quota": None, "enabled": False}}
    assert lines(declared, declared, live) == []


def test_changed_declaration() -> None:
    """A value is set when its declaration changed, over what a person has set; the other fields stay."""
    applied: Objects = {ALICE: {"name": "A", "quota": 5, "enabled": True}}
    declared: Objects = {ALICE: {"name": "A", "quota": 9, "enabled": True}}
    live: Objects = {ALICE: {**LIVE, "name": "by hand", "quota": 7}}
    assert lines(declared, applied, live) == ["set account alice@example.test: quota 7 -> 9 (its declaration changed)"]


def test_changed_to_what_is() -> None:
    """Where a person was faster than the declaration nothing changes but the record."""
    applied: Objects = {ALICE: {"name": "A", "enabled": True}}
    declared: Objects = {ALICE: {"name": "B", "enabled": True}}
    live: Objects = {ALICE: {**LIVE, "name": "B"}}
    assert lines(declared, applied, live) == ["keep account alice@example.test (its declaration changed)"]


def test_password() -> None:
    """A password is set when the declared secret changed, and neither it nor a fingerprint is shown."""
    applied: Objects = {ALICE: {"password": "print1", "enabled": True}}
    declared: Objects = {ALICE: {"password": "print2", "enabled": True}}
    found = plan_accounts(declared, applied, {ALICE: LIVE})
    assert [str(action) for action in found] == ["set account alice@example.test: password (its declaration changed)"]
    assert "print" not in repr(found)


def test_removed_by_hand() -> None:
    """What is declared and was removed by hand is made again, with everything declared, and the plan says so."""
    declared: Objects = {ALICE: {"name": "A", "password": "print", "enabled": True}}
    [action] = plan_accounts(declared, declared, {})
    assert str(action) == "add account alice@example.test (it is declared and was removed by hand)"
    assert [change.field for change in action.changes] == ["name", "password", "enabled"]


def test_adoption() -> None:
    """Declaring what was made by hand takes over the fields that are declared, and enables it; the others stay."""
    declared: Objects = {ALICE: {"name": "A", "enabled": True}}
    live: Objects = {ALICE: {**LIVE, "quota": 7, "enabled": False}}
    assert lines(declared, {}, live) == [
        'set account alice@example.test: name "" -> A, enabled no -> yes (the declaration takes it over)'
    ]


def test_adoption_as_it_is() -> None:
    """Where nothing has to change, taking over is said all the same."""
    declared: Objects = {ALICE: {"enabled": True}}
    assert lines(declared, {}, {ALICE: LIVE}) == ["keep account alice@example.test (the declaration takes it over)"]


def test_made_by_hand() -> None:
    """What was made by hand and is not declared is left alone."""
    assert lines({}, {}, {DOMAIN: {"postmaster": None, "enabled": True}, ALICE: LIVE}) == []


def test_field_left() -> None:
    """A field that left the declaration goes back to its default, unless a person has changed it since."""
    applied: Objects = {ALICE: {"name": "A", "quota": 5, "password": "print", "enabled": True}}
    declared: Objects = {ALICE: {"enabled": True}}
    live: Objects = {ALICE: {**LIVE, "name": "by hand", "quota": 5}}
    assert lines(declared, applied, live) == [
        "set account alice@example.test: quota 5 -> none (its declaration changed)"
    ]


def test_targets_are_one_field() -> None:
    """All targets of an alias are one value."""
    applied: Objects = {SALES: {"targets": ("a@x.test", "b@x.test"), "enabled": True}}
    declared: Objects = {SALES: {"targets": ("a@x.test",), "enabled": True}}
    live: Objects = {SALES: {"targets": ("a@x.test", "b@x.test", "hand@x.test"), "enabled": True}}
    assert lines(declared, applied, live) == [
        "set alias sales@example.test: targets [a@x.test, b@x.test, hand@x.test] -> [a@x.test]"
        " (its declaration changed)"
    ]


def test_left() -> None:
    """What left the declaration is disabled; what a person had disabled or removed before needs nothing."""
    applied: Objects = {named: {"enabled": True} for named in (DOMAIN, ALICE, BOB, SALES)}
    live: Objects = {
        DOMAIN: {"postmaster": None, "enabled": True},
        ALICE: LIVE,
        BOB: {**LIVE, "enabled": False},
    }
    assert lines({}, applied, live) == [
        "disable domain example.test: enabled yes -> no (it left the declaration)",
        "disable account alice@example.test: enabled yes -> no (it left the declaration)",
        "keep account bob@example.test (it left the declaration and is disabled already)",
        "keep alias sales@example.test (it left the declaration and is not there)",
    ]


def test_domain_with_others_left() -> None:
    """A domain that left the declaration stays enabled for those who were made in it by hand."""
    applied: Objects = {DOMAIN: {"enabled": True}, ALICE: {"enabled": True}}
    live: Objects = {DOMAIN: {"postmaster": None, "enabled": True}, ALICE: LIVE, BOB: LIVE}
    assert lines({}, applied, live) == [
        "keep domain example.test (it left the declaration, but accounts or aliases made by hand are in it)",
        "disable account alice@example.test: enabled yes -> no (it left the declaration)",
    ]


def test_back_again() -> None:
    """What left the declaration and comes back is enabled again."""
    live: Objects = {ALICE: {**LIVE, "enabled": False}}
    assert lines({ALICE: {"enabled": True}}, {}, live) == [
        "set account alice@example.test: enabled no -> yes (the declaration takes it over)"
    ]


@pytest.mark.parametrize("named", [DOMAIN, ALICE, Named("alias", '"two words"@example.test')])
def test_names(named: Named) -> None:
    """The text of a name can be read back."""
    assert Named.parse(str(named)) == named
