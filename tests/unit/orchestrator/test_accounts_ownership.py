"""Who owns which value: what a plan of accounts changes, and why."""

import dataclasses

import pytest

from orchestrator.admin.ownership import Applied, AtStake, Fields, Named, Objects, left_after, perform, plan_accounts

DOMAIN = Named("domain", "example.test")
ALICE = Named("account", "alice@example.test")
BOB = Named("account", "bob@example.test")
SALES = Named("alias", "sales@example.test")

CAROL = Named("contact", "carol c@example.test")

LIVE: Fields = {"name": "", "quota": None, "protocols": None, "enabled": True}
"""An account as a person makes it."""


def lines(declared: Objects, applied: Objects, live: Objects) -> list[str]:
    return [str(action) for action in plan_accounts(declared, Applied(objects=applied), live)]


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
    """A password is set when the declared secret changed; for machines, the beginning of its fingerprint is shown."""
    applied: Objects = {ALICE: {"password": "print1", "enabled": True}}
    declared: Objects = {ALICE: {"password": "0123456789abcdef", "enabled": True}}
    [action] = plan_accounts(declared, Applied(objects=applied), {ALICE: LIVE})
    assert str(action) == "set account alice@example.test: password (its declaration changed)"
    assert action.as_json()["changes"] == [{"field": "password", "before": None, "after": "0123456789ab"}]


def test_password_hash_as_it_is() -> None:
    """A declared hash that the account has already is no reason to set it."""
    applied: Objects = {ALICE: {"password": "of the secret", "enabled": True}}
    declared: Objects = {ALICE: {"password": "of the hash", "enabled": True}}
    live: Objects = {ALICE: {**LIVE, "password": "of the hash"}}
    assert lines(declared, applied, live) == ["keep account alice@example.test (its declaration changed)"]


def test_removed_by_hand() -> None:
    """What is declared and was removed by hand is made again, with everything declared, and the plan says so."""
    declared: Objects = {ALICE: {"name": "A", "password": "print", "enabled": True}}
    [action] = plan_accounts(declared, Applied(objects=declared), {})
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


def test_no_list_of_protocols_is_all_of_them() -> None:
    """An account that is not restricted any more is told as it is."""
    applied: Objects = {ALICE: {"protocols": ("imap",), "enabled": True}}
    live: Objects = {ALICE: {**LIVE, "protocols": ("imap",)}}
    assert lines({ALICE: {"enabled": True}}, applied, live) == [
        "set account alice@example.test: protocols [imap] -> all (its declaration changed)"
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
        "keep alias sales@example.test (it left the declaration and is not there)",
        "disable account alice@example.test: enabled yes -> no (it left the declaration)",
        "keep account bob@example.test (it left the declaration and is disabled already)",
        "disable domain example.test: enabled yes -> no (it left the declaration)",
    ]


def test_domain_with_others_left() -> None:
    """A domain that left the declaration stays enabled for those who were made in it by hand."""
    applied: Objects = {DOMAIN: {"enabled": True}, ALICE: {"enabled": True}}
    live: Objects = {DOMAIN: {"postmaster": None, "enabled": True}, ALICE: LIVE, BOB: LIVE}
    assert lines({}, applied, live) == [
        "disable account alice@example.test: enabled yes -> no (it left the declaration)",
        "keep domain example.test (it left the declaration, but what was made by hand is in it)",
    ]


def test_back_again() -> None:
    """What comes back is enabled again; beyond that, only what is declared otherwise than when it left is set."""
    before: Objects = {ALICE: {"name": "A", "quota": 5, "password": "print", "enabled": True}}
    live: Objects = {ALICE: {**LIVE, "name": "by hand", "quota": 7, "enabled": False}}
    left = left_after({}, Applied(objects=before), live)
    declared: Objects = {ALICE: {**before[ALICE], "quota": 9}}
    [action] = plan_accounts(declared, Applied(left=left), live)
    assert str(action) == "set account alice@example.test: quota 7 -> 9, enabled no -> yes (it is declared again)"


def test_prune() -> None:
    """Pruning removes what leaves and what has left and is disabled still: what uses others first, a domain last."""
    others: Objects = {
        Named("list", "team@example.test"): {"enabled": True},
        Named("contact", "carol@example.test"): {"enabled": True},
        Named("retrieval", "al"): {"enabled": True},
    }
    applied: Objects = {DOMAIN: {"enabled": True}, SALES: {"enabled": True}, **others}
    live: Objects = {DOMAIN: {"enabled": True}, SALES: {"enabled": False}, BOB: {**LIVE, "enabled": False}, **others}
    known = Applied(objects=applied, left={BOB: {"enabled": False}, ALICE: {"enabled": False}})
    actions = plan_accounts({}, known, live, prune=True)
    assert [str(action) for action in actions] == [
        "remove retrieval al (it left the declaration)",
        "remove contact carol@example.test (it left the declaration)",
        "remove list team@example.test (it left the declaration)",
        "remove alias sales@example.test (it left the declaration)",
        "remove account bob@example.test (it left the declaration)",
        "remove domain example.test (it left the declaration)",
    ]
    assert perform(actions, live) == {}


def test_prune_leaves_what_people_made() -> None:
    """Pruning takes nothing that a person made, or enabled since it left; nor the domain that it is in."""
    live: Objects = {DOMAIN: {"enabled": True}, ALICE: LIVE, BOB: {**LIVE, "enabled": False}}
    known = Applied(objects={DOMAIN: {"enabled": True}}, left={ALICE: {"enabled": False}})
    assert [str(action) for action in plan_accounts({}, known, live, prune=True)] == [
        "keep domain example.test (it left the declaration, but what was made by hand is in it)"
    ]
    disabled: Objects = {**live, ALICE: {**LIVE, "enabled": False}}
    assert [str(action) for action in plan_accounts({}, known, disabled, prune=True)] == [
        "remove account alice@example.test (it left the declaration)",
        "disable domain example.test: enabled yes -> no (it left the declaration, but what was made by hand is in it)",
    ]


def test_at_stake() -> None:
    """The mail of who loses it is named, and no part of what two plans are compared by."""
    [action] = plan_accounts({}, Applied(objects={ALICE: {"enabled": True}}), {ALICE: LIVE})
    told = dataclasses.replace(action, at_stake=AtStake(messages=1, octets=17))
    assert told == action
    assert str(told).endswith("(it left the declaration; its mail is kept: 1 message, 17 octets)")
    assert told.as_json()["at_stake"] == {"messages": 1, "octets": 17, "uncounted": 0}
    damaged = AtStake(messages=2, octets=20) + AtStake(uncounted=1)
    assert str(damaged) == "2 messages, 20 octets, and what 1 damaged index cannot count"


@pytest.mark.parametrize("named", [DOMAIN, ALICE, Named("alias", '"two words"@example.test'), CAROL])
def test_names(named: Named) -> None:
    """The text of a name can be read back."""
    assert Named.parse(str(named)) == named
