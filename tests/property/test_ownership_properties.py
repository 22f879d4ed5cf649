"""Plans of accounts, applied to a model of the directory."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.admin.ownership import (
    DEFAULTS,
    PASSWORD,
    Applied,
    Fields,
    Named,
    Objects,
    Value,
    Verb,
    left_after,
    perform,
    plan_accounts,
)

NAMES = [
    Named("domain", "a.test"),
    Named("domain", "b.test"),
    Named("account", "x@a.test"),
    Named("account", "y@b.test"),
    Named("alias", "z@a.test"),
    Named("list", "l@b.test"),
    Named("contact", "c c@a.test"),
    Named("retrieval", "r"),
]

_WORDS: st.SearchStrategy[Value] = st.sampled_from(["", "A", "B"])
_LISTS: st.SearchStrategy[Value] = st.sampled_from([(), ("x@a.test",), ("x@a.test", "y@b.test")])
VALUES: Mapping[str, st.SearchStrategy[Value]] = {
    "postmaster": st.sampled_from([None, "x", "z"]),
    "quota": st.sampled_from([None, 1, 2]),
    "protocols": st.sampled_from([None, ("pop",), ()]),
    "catch_all": _LISTS,
    "targets": _LISTS,
    "members": _LISTS,
    "owners": _LISTS,
    "keep": st.sampled_from([False, True, "14d"]),
    "enabled": st.booleans(),
    PASSWORD: st.sampled_from(["print1", "print2"]),
}


def names_of(named: Named) -> list[str]:
    return [*DEFAULTS[named.kind], *([PASSWORD] if named.kind == "account" else [])]


@st.composite
def declarations(draw: st.DrawFn) -> Objects:
    """Of each object some fields; `enabled` always."""
    found: dict[Named, Fields] = {}
    for named in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        written = {*draw(st.lists(st.sampled_from(names_of(named)), unique=True)), "enabled"}
        found[named] = {name: draw(VALUES.get(name, _WORDS)) for name in written}
    return found


@st.composite
def directories(draw: st.DrawFn) -> Objects:
    """Of each object all fields."""
    return {
        named: {name: draw(VALUES.get(name, _WORDS)) for name in names_of(named)}
        for named in draw(st.lists(st.sampled_from(NAMES), unique=True))
    }


@st.composite
def memories(draw: st.DrawFn) -> Applied:
    """What left is not what is declared, and was disabled when it left."""
    objects, left = draw(declarations()), draw(declarations())
    return Applied(
        objects=objects,
        left={named: {**fields, "enabled": False} for named, fields in left.items() if named not in objects},
    )


@given(declared=declarations(), applied=memories(), live=directories(), prune=st.booleans())
def test_once_is_enough(declared: Objects, applied: Applied, live: Objects, prune: bool) -> None:
    """After a plan was applied there is nothing left to do."""
    after = perform(plan_accounts(declared, applied, live, prune=prune), live)
    now = Applied(objects=declared, left=left_after(declared, applied, after))
    assert plan_accounts(declared, now, after, prune=prune) == ()


@given(declared=declarations(), applied=memories(), live=directories())
def test_empty_plan(declared: Objects, applied: Applied, live: Objects) -> None:
    """An empty plan means that what is declared is what was applied last: there is nothing to record."""
    if not plan_accounts(declared, applied, live):
        assert declared == applied.objects


@given(declared=declarations(), applied=memories(), live=directories(), prune=st.booleans())
def test_new_declarations_hold(declared: Objects, applied: Applied, live: Objects, prune: bool) -> None:
    """What is declared otherwise than before, or is not there, is as declared afterwards."""
    after = perform(plan_accounts(declared, applied, live, prune=prune), live)
    for named, fields in declared.items():
        before = {**applied.left, **applied.objects}.get(named, {})
        for name, value in fields.items():
            if named not in live or name not in before or before[name] != value:
                assert after[named][name] == value


@given(declared=declarations(), live=directories(), prune=st.booleans())
def test_what_people_do_stays(declared: Objects, live: Objects, prune: bool) -> None:
    """While the declaration stays the same, everything that is there stays as a person has made it."""
    after = perform(plan_accounts(declared, Applied(objects=declared), live, prune=prune), live)
    assert {named: after[named] for named in live} == live


@given(declared=declarations(), applied=memories(), live=directories(), prune=st.booleans())
def test_what_people_made_stays(declared: Objects, applied: Applied, live: Objects, prune: bool) -> None:
    """What was never declared stays as it is, and nothing is removed but by pruning."""
    actions = plan_accounts(declared, applied, live, prune=prune)
    after = perform(actions, live)
    for named in live.keys() - declared.keys() - applied.objects.keys() - applied.left.keys():
        assert after[named] == live[named]
    if not prune:
        assert live.keys() <= after.keys()
    assert {action.object for action in actions if action.verb is Verb.REMOVE} == live.keys() - after.keys()


@given(declared=declarations(), applied=memories(), live=directories())
def test_pruning(declared: Objects, applied: Applied, live: Objects) -> None:
    """Pruning leaves nothing disabled of what has left, but a domain in which something is; and takes no domain from
    under anything.
    """
    after = perform(plan_accounts(declared, applied, live, prune=True), live)
    in_use = {named.domain for named in after}
    for named in left_after(declared, applied, after):
        assert named.kind == "domain"
        assert named.key in in_use
    domains = {named.key for named in live if named.kind == "domain"}
    for named in after:
        if named.kind == "domain" or named.domain not in domains:
            continue
        assert Named("domain", named.domain) in after


@given(declared=declarations(), between=declarations(), live=directories())
def test_there_and_back(declared: Objects, between: Objects, live: Objects) -> None:
    """An object that leaves the declaration and comes back has every field that a person had set, and is enabled as it
    is declared.
    """
    known = Applied(objects=declared)
    without = {named: fields for named, fields in between.items() if named not in declared}
    gone = perform(plan_accounts(without, known, live), live)
    then = Applied(objects=without, left=left_after(without, known, gone))
    back = perform(plan_accounts(declared, then, gone), gone)
    for named in declared.keys() & live.keys():
        was = {**live[named], "enabled": declared[named]["enabled"]}
        if named in then.left and live[named]["enabled"]:
            assert back[named] == was
