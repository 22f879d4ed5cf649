"""Whatever is in a directory: it is exported as a declaration that is valid, and changes nothing."""

from pathlib import Path

from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from maillib.address import Address
from maillib.errors import Conflict
from maillib.ports.contacts import Contact, contact_key
from maillib.ports.directory import Account, AccountId, Alias, Domain, Entries, StoredPassword
from maillib.ports.expansion import refuse_circles
from maillib.ports.lists import MailingList, Post
from maillib.ports.retrieval import Apop, Retrieval, Server, Tls
from maillib.secret import SecretRef
from orchestrator.admin.accounts_file import PasswordHash, parse_copy
from orchestrator.admin.entries import named_entries, named_retrieval
from orchestrator.admin.export import declaration
from orchestrator.admin.ownership import PASSWORD, Applied, Fields, Named, Objects, plan_accounts

HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21l$c29tZXNhbHRzb21lc29tZXNhbHRzb21"

DOMAINS = ["a.test", "xn--mnchen-3ya.test"]
LOCALS = ["alice", "Bob", "no", "o'neil", '"two words"', "jürgen", "a-owner", "a", "1e3", "postmaste"]
TEXTS = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cn"), exclude_characters="\ufeff\ufffe\uffff"),
    max_size=12,
) | st.sampled_from(
    ["yes", "null", "~", "12:30", "2001-01-01", "0x1f", "a: b", "# c", '"', "'", "&a", "*a", "- x", "\\"]
)
FLAGS = st.booleans()

addresses = st.builds(Address, st.sampled_from(LOCALS), st.sampled_from([*DOMAINS, "elsewhere.test"]))
ours = st.builds(Address, st.sampled_from(LOCALS), st.sampled_from(DOMAINS))
groups = st.lists(addresses, max_size=3, unique_by=lambda one: one.key).map(tuple)
lines = TEXTS.filter(lambda text: bool(text.strip()))


@st.composite
def directories(draw: st.DrawFn) -> Entries:
    """One in which no two that are enabled have one address, and nothing leads in a circle: an engine lets none in."""
    taken: set[str] = set()

    def free(address: Address, *more: Address) -> bool:
        keys = {one.key for one in (address, *more)}
        if keys & taken:
            return False
        taken.update(keys)
        return True

    accounts = [
        Account(
            AccountId(number),
            address,
            draw(TEXTS),
            draw(FLAGS) and free(address),
            draw(st.sampled_from([None, frozenset(), frozenset({"smtp", "imap"})])),
            draw(st.sampled_from([None, 1, 1000, 1 << 30])),
        )
        for number, address in enumerate(draw(st.lists(ours, max_size=4, unique_by=lambda one: one.key)))
    ]
    elsewhere = st.lists(addresses, min_size=1, max_size=3, unique_by=lambda one: one.key).map(
        lambda found: tuple(Address(one.local, "elsewhere.test") if one.local == "a" else one for one in found)
    )
    known = {account.address.key for account in accounts}
    targets = elsewhere.map(
        lambda found: (
            tuple({one.key: one for one in found if one.key in known or one.domain == "elsewhere.test"}.values())
            or (Address("x", "elsewhere.test"),)
        )
    )
    aliases = [
        Alias(address=address, targets=draw(targets), enabled=draw(FLAGS) and free(address))
        for address in draw(st.lists(ours, max_size=3, unique_by=lambda one: one.key))
    ]
    lists = []
    for address in draw(st.lists(ours, max_size=3, unique_by=lambda one: one.key)):
        if address.local.startswith('"'):
            continue
        found = MailingList(
            address=address,
            name=draw(TEXTS),
            members=draw(targets),
            post=draw(st.sampled_from(Post)),
            owners=draw(st.just(()) | targets),
        )
        enabled = draw(FLAGS) and free(address, found.owner_address)
        lists.append(
            MailingList(
                address=address,
                name=found.name,
                members=found.members,
                post=found.post,
                owners=found.owners,
                enabled=enabled,
            )
        )
    try:
        refuse_circles(aliases, lists)
    except Conflict:
        reject()
    contacts = [
        Contact(
            domain=domain,
            name=name,
            email=draw(st.none() | addresses),
            phone=draw(TEXTS),
            mobile=draw(TEXTS),
            organization=draw(TEXTS),
            title=draw(TEXTS),
            note=draw(TEXTS),
            enabled=draw(FLAGS),
        )
        for domain, name in draw(
            st.lists(
                st.tuples(st.sampled_from(DOMAINS), lines),
                max_size=3,
                unique_by=lambda one: (one[0], contact_key(one[1])),
            )
        )
    ]
    names = ["al-old", "no", "1e3", "A.b@c", "0"]
    retrievals = [
        Retrieval(
            name=name,
            account=draw(addresses),
            server=Server.parse(draw(st.sampled_from(["127.0.0.1:1110", "[2001:db8::1]:995", "pop.test:110"]))),
            tls=tls,
            ca=None if tls is Tls.NONE else draw(st.sampled_from([None, "/etc/ca b.pem"])),
            user=draw(lines),
            secret=draw(
                st.sampled_from([SecretRef("file", "/a b/c"), SecretRef("env", "PW"), SecretRef("credential", "pw")])
            ),
            folder=draw(st.sampled_from(["INBOX", "a/b", "no", "März"])),
            keep_days=draw(st.sampled_from([0, None, 14])),
            apop=draw(st.sampled_from(Apop)),
            interval_s=draw(st.sampled_from([None, 30, 90, 300])),
            max_message_size=draw(st.sampled_from([None, 1, 1 << 20])),
            enabled=draw(FLAGS),
        )
        for name in draw(st.lists(st.sampled_from(names), unique=True, max_size=3))
        for tls in [draw(st.sampled_from(Tls))]
    ]
    return Entries(
        domains=tuple(
            Domain(
                name=name,
                postmaster=draw(st.sampled_from([None, *LOCALS])),
                catch_all=draw(st.just(()) | groups),
                enabled=draw(FLAGS),
            )
            for name in DOMAINS
        ),
        accounts=tuple(accounts),
        aliases=tuple(aliases),
        lists=tuple(lists),
        contacts=tuple(contacts),
        retrievals=tuple(retrievals),
    )


@st.composite
def memories(draw: st.DrawFn, live: Objects) -> Applied:
    """Declarations of some of what is there, and its fields as they are or as they once were."""
    declared: dict[Named, Fields] = {}
    for named, fields in live.items():
        if draw(FLAGS):
            known = [name for name in fields if name != PASSWORD and draw(FLAGS)]
            declared[named] = {**{name: fields[name] if draw(FLAGS) else "other" for name in known}, "enabled": True}
    return Applied(objects=declared)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(data=st.data(), entries=directories())
def test_round_trip(data: st.DataObject, entries: Entries) -> None:
    """An export is valid; declared in place of any declaration before, it changes nothing."""
    passwords = {
        account.id: StoredPassword(f"{HASH}{account.id}", None) for account in entries.accounts if data.draw(FLAGS)
    }
    text = declaration(entries, passwords)
    found = parse_copy(text, Path("/accounts.yaml"), Path("/"))
    prints = {number: stored.argon2id for number, stored in passwords.items()}
    live = {named: entry.fields for named, entry in named_entries(entries, prints).items()}
    declared: dict[Named, Fields] = dict(found.objects)
    for named, secret in found.secrets.items():
        if isinstance(secret, PasswordHash):
            declared[named] = {**declared[named], PASSWORD: secret.text}
    others = {named.key for named in declared if named.kind in ("alias", "list")}
    idle = {
        named_retrieval(one.name) for one in entries.retrievals if one.account.key in others
    }  # for an account that is disabled, and whose address something else has by now
    memory = data.draw(memories({named: fields for named, fields in live.items() if named not in idle}))
    actions = plan_accounts(declared, memory, live)
    assert [action for action in actions if action.is_change] == []
    assert {named for named in live if live[named]["enabled"]} <= declared.keys() | idle
