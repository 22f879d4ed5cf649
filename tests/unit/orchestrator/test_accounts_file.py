"""accounts.yaml: what is understood, and every way in which it can be wrong."""

from pathlib import Path

import pytest

from maillib.secret import SecretRef
from orchestrator.admin.accounts_file import Declaration, PasswordHash, read_declaration
from orchestrator.admin.ownership import Named
from orchestrator.problems import SpecErrors

HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21l$c29tZXNhbHRzb21lc29tZXNhbHRzb21l"


def read(folder: Path, text: str) -> Declaration:
    path = folder / "accounts.yaml"
    path.write_text(text)
    return read_declaration(path)


def problems(folder: Path, text: str) -> list[str]:
    """Each without the name of the file."""
    with pytest.raises(SpecErrors) as error:
        read(folder, text)
    return [str(problem).removeprefix(f"{folder}/accounts.yaml:") for problem in error.value.problems]


def in_domain(text: str) -> str:
    """A file with `text` below one domain, in line 4."""
    return f"version: 1\ndomains:\n  example.test:\n    {text}\n"


def test_everything(tmp_path: Path) -> None:
    """Fields are declared when the file names them; names are normalized, passwords stay references."""
    found = read(
        tmp_path,
        f"""\
version: 1
domains:
  Example.TEST:
    postmaster: alice
    users:
      alice: {{name: Alice Liddell, password: {{file: secrets/alice}}, quota: 1GiB}}
      Bob: {{password_hash: "{HASH}", protocols: [smtp, pop, smtp], quota: null}}
      carol:
    aliases:
      sales: [alice, BOB, partner@Elsewhere.test, other@example.test]
  münchen.test: {{users: {{Jürgen: {{password: {{env: PW}}}}}}}}
  empty.test:
  commented.test:
    users:
    aliases:
""",
    )
    alice, bob = Named("account", "alice@example.test"), Named("account", "bob@example.test")
    jurgen = Named("account", "jürgen@xn--mnchen-3ya.test")
    assert found.objects == {
        Named("domain", "example.test"): {"postmaster": "alice", "enabled": True},
        Named("domain", "xn--mnchen-3ya.test"): {"enabled": True},
        Named("domain", "empty.test"): {"enabled": True},
        Named("domain", "commented.test"): {"enabled": True},
        alice: {"name": "Alice Liddell", "quota": 1 << 30, "enabled": True},
        bob: {"protocols": ("pop", "smtp"), "quota": None, "enabled": True},
        Named("account", "carol@example.test"): {"enabled": True},
        jurgen: {"enabled": True},
        Named("alias", "sales@example.test"): {
            "targets": (
                "alice@example.test",
                "BOB@example.test",
                "partner@elsewhere.test",
                "other@example.test",
            ),
            "enabled": True,
        },
    }
    kinds = [named.kind for named in found.objects]
    assert kinds == ["domain"] * 4 + ["account"] * 4 + ["alias"]
    assert found.secrets == {
        alice: SecretRef("file", str(tmp_path / "secrets/alice")),
        bob: PasswordHash(HASH),
        jurgen: SecretRef("env", "PW"),
    }
    assert found.written[bob] == "Bob@example.test"
    assert found.secret_places[bob] == ("domains", "Example.TEST", "users", "Bob", "password_hash")
    assert HASH not in repr(found.secrets)


def test_shipped() -> None:
    """The shipped file is right, and holds no secret."""
    found = read_declaration(Path(__file__).parents[3] / "accounts.yaml")
    assert {source.source for source in found.secrets.values() if isinstance(source, SecretRef)} == {"file"}
    assert len(found.secrets) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "users: {alice: {password: secret}}",
            "4:31: domains.example.test.users.alice.password: a literal secret; allowed: a reference to it;"
            " write {file: PATH}",
        ),
        (
            f'users: {{alice: {{password: {{env: A}}, password_hash: "{HASH}"}}}}',
            "4:20: domains.example.test.users.alice: both password and password_hash; allowed: one of them",
        ),
        (
            'users: {alice: {password_hash: "$2y$10$abc"}}',
            "4:36: domains.example.test.users.alice.password_hash: no argon2id hash;"
            " allowed: $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH",
        ),
        (
            f'users: {{alice: {{password_hash: "{HASH.replace("19456", "1000000")}"}}}}',
            "4:36: domains.example.test.users.alice.password_hash: the hash costs too much to check at each log-in;"
            " allowed: at most m=131072,t=32,p=16",
        ),
        (
            "users: {alice: {nmae: A}}",
            "4:21: domains.example.test.users.alice.nmae: unknown key; allowed: name, password, password_hash, quota,"
            " protocols, enabled; did you mean name?",
        ),
        (
            "users: {alice: {quota: 1GB}}",
            '4:28: domains.example.test.users.alice.quota: "1GB" is no size; allowed: octets, or a whole number and'
            " KiB, MiB or GiB; write 1GiB?",
        ),
        (
            "users: {alice: {quota: 0}}",
            "4:28: domains.example.test.users.alice.quota: a quota of 0 octets is out of range; allowed: 1 to"
            " 1152921504606846976",
        ),
        (
            "users: {alice: {protocols: [spool]}}",
            '4:33: domains.example.test.users.alice.protocols[0]: "spool" is not known; allowed: smtp, imap, pop, ldap',
        ),
        (
            'users: {al: {name: "a\\nb"}}',
            "4:24: domains.example.test.users.al.name: the name holds a control character; allowed: one line of text",
        ),
        (
            "users: {alice: {}, ALICE: {}}",
            "4:24: domains.example.test.users.ALICE: ALICE@example.test is declared in line 4 already; allowed: once",
        ),
        (
            'users: {"ju\\u0308rgen": {}, JÜRGEN: {}}',
            '4:33: domains.example.test.users."JÜRGEN": JÜRGEN@example.test is declared in line 4 already; allowed:'
            " once",
        ),
        (
            "users: {alice: {}, alice@example.test: {}}",
            "4:24: domains.example.test.users.alice@example.test: 'alice@example.test@example.test': the local part is"
            " no dot-atom and is not quoted; allowed: a local part; write the part before the @ alone",
        ),
        (
            "{users: {alice: {}}, aliases: {Alice: [x@elsewhere.test]}}",
            "4:36: domains.example.test.aliases.Alice: Alice@example.test is declared in line 4 already; allowed: once",
        ),
        (
            "{users: {alice: {}}, aliases: {sales: [alcie]}}",
            '4:44: domains.example.test.aliases.sales[0]: "alcie" is no target; allowed: a user, alias or list of'
            " example.test, or an address; did you mean alice?",
        ),
        (
            'aliases: {sales: ["a b@elsewhere.test"]}',
            '4:23: domains.example.test.aliases.sales[0]: "a b@elsewhere.test" is no target; allowed: a user, alias or'
            " list of example.test, or an address",
        ),
        (
            "aliases: {sales: [x@elsewhere.test, X@elsewhere.test]}",
            "4:41: domains.example.test.aliases.sales[1]: X@elsewhere.test is named twice; allowed: once",
        ),
        ("aliases: {sales: []}", "4:22: domains.example.test.aliases.sales: the list has 0 items; allowed: 1 or more"),
        (
            "aliases: {a: [b], b: [x@elsewhere.test, a]}",
            "4:45: domains.example.test.aliases.b[1]: circular: a@example.test -> b@example.test -> a@example.test;"
            " allowed: no way back to itself",
        ),
        (
            "aliases: {a: [A]}",
            "4:19: domains.example.test.aliases.a[0]: circular: a@example.test -> a@example.test; allowed: no way back"
            " to itself",
        ),
        (
            "{postmaster: alcie, users: {alice: {}}}",
            '4:18: domains.example.test.postmaster: example.test has no user, alias or list "alcie"; allowed: one of'
            " them; did you mean alice?",
        ),
        (
            "{postmaster: alice, users: {alice: {}}, aliases: {postmaster: [alice]}}",
            "4:18: domains.example.test.postmaster: example.test has a user, alias or list of that name, too; allowed:"
            " one of both",
        ),
        (
            "lists: {team: {members: [alice]}}",
            '4:30: domains.example.test.lists.team.members[0]: "alice" is no target; allowed: a user, alias or list of'
            " example.test, or an address",
        ),
        (
            "{users: {team: {}}, lists: {TEAM: {}}}",
            "4:33: domains.example.test.lists.TEAM: TEAM@example.test is declared in line 4 already; allowed: once",
        ),
        (
            "{users: {Team-Owner: {}}, lists: {team: {}}}",
            "4:14: domains.example.test.users.Team-Owner: team-owner@example.test is the address of the owners of the"
            " list team@example.test in line 4; allowed: another name",
        ),
        (
            'lists: {"\\"a b\\"": {}}',
            '4:13: domains.example.test.lists."\\"a b\\"": "a b"@example.test: a list\'s local part has to do without'
            " quotes",
        ),
        (
            "lists: {team: {post: owners}}",
            '4:26: domains.example.test.lists.team.post: "owners" is not known; allowed: members, anyone, owner; did'
            " you mean owner?",
        ),
        (
            "lists: {a: {members: [b]}, b: {owners: [c]}, c: {members: [a]}}",
            "4:64: domains.example.test.lists.c.members[0]: circular: a@example.test -> b@example.test ->"
            " c@example.test -> a@example.test; allowed: no way back to itself",
        ),
        (
            "{aliases: {a: [b]}, lists: {b: {members: [A]}}}",
            "4:47: domains.example.test.lists.b.members[0]: circular: a@example.test -> b@example.test ->"
            " a@example.test; allowed: no way back to itself",
        ),
        (
            "{users: {alice: {}}, catch_all: alcie}",
            '4:37: domains.example.test.catch_all: "alcie" is no target; allowed: a user, alias or list of'
            " example.test, or an address; did you mean alice?",
        ),
        (
            "{users: {alice: {}}, catch_all: [alice, x@elsewhere.test, ALICE]}",
            "4:63: domains.example.test.catch_all[2]: ALICE@example.test is named twice; allowed: once",
        ),
        ("catch_all: 5", "4:16: domains.example.test.catch_all: a number stands here; a list is expected"),
        (
            "contacts: [{name: Carol}, {name: ' carol  '}]",
            "4:32: domains.example.test.contacts[1].name: the contact  carol   is declared in line 4 already; allowed:"
            " once",
        ),
        (
            "contacts: [{email: carol@elsewhere.test}]",
            "4:16: domains.example.test.contacts[0].name: this key is missing; it has no default",
        ),
        (
            "contacts: [{name: Carol, email: carol}]",
            "4:37: domains.example.test.contacts[0].email: 'carol' is not of the form local@domain; allowed: an"
            " address, LOCAL@DOMAIN",
        ),
        (
            "contacts: [{name: Carol, fone: '1'}]",
            "4:30: domains.example.test.contacts[0].fone: unknown key; allowed: name, email, phone, mobile,"
            " organization, title, note, enabled; did you mean phone?",
        ),
        (
            "{postmaster: alice@other.test, users: {alice: {}}}",
            '4:18: domains.example.test.postmaster: example.test has no user, alias or list "alice@other.test";'
            " allowed: one of them",
        ),
    ],
)
def test_refused(tmp_path: Path, text: str, expected: str) -> None:
    """Each mistake is told once, in its place, with what is allowed."""
    assert problems(tmp_path, in_domain(text)) == [expected]


RETRIEVAL = 'name: al, account: alice@example.test, server: "127.0.0.1:1110", user: al, password: {file: secrets/al}'


def test_other_kinds(tmp_path: Path) -> None:
    """Lists, a catch-all, contacts and retrieval entries: as the file says, and the rest is not its own."""
    found = read(
        tmp_path,
        f"""\
version: 1
domains:
  example.test:
    catch_all: alice
    users: {{alice: {{enabled: false}}}}
    lists:
      team: {{name: The team, members: [alice, X@elsewhere.test], post: anyone, owners: [alice]}}
      empty:
    contacts:
      - {{name: "Carol  C", email: Carol@Elsewhere.test, phone: "+1 555 0100"}}
retrieval:
  - {{{RETRIEVAL}, tls: none, keep: 14d, interval: 5m, max_message_size: 1MiB}}
  - {{{RETRIEVAL.replace("al,", "AL2,", 1)}, ca: ca.pem, folder: a/b, keep: true, apop: never, enabled: false}}
""",
    )
    first, second = Named("retrieval", "al"), Named("retrieval", "al2")
    secret = f"file {tmp_path}/secrets/al"
    entry = {"account": "alice@example.test", "server": "127.0.0.1:1110", "user": "al", "secret": secret}
    assert found.objects == {
        Named("domain", "example.test"): {"catch_all": ("alice@example.test",), "enabled": True},
        Named("account", "alice@example.test"): {"enabled": False},
        Named("list", "team@example.test"): {
            "name": "The team",
            "members": ("alice@example.test", "X@elsewhere.test"),
            "post": "anyone",
            "owners": ("alice@example.test",),
            "enabled": True,
        },
        Named("list", "empty@example.test"): {"enabled": True},
        Named("contact", "carol c@example.test"): {
            "email": "Carol@elsewhere.test",
            "phone": "+1 555 0100",
            "enabled": True,
        },
        first: {
            **entry,
            "tls": "none",
            "keep": "14d",
            "interval": "5m",
            "max_message_size": 1 << 20,
            "enabled": True,
        },
        second: {
            **entry,
            "ca": str(tmp_path / "ca.pem"),
            "folder": "a/b",
            "keep": True,
            "apop": "never",
            "enabled": False,
        },
    }
    assert found.written[Named("contact", "carol c@example.test")] == "Carol  C@example.test"
    assert found.written[second] == "AL2"
    assert found.secrets[first] == SecretRef("file", str(tmp_path / "secrets/al"))
    assert found.secret_places[second] == ("retrieval", 1, "password")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (RETRIEVAL.replace("name: al", "name: 'a l'"), "name: 'a l' is no name; allowed: at most 100 letters"),
        (RETRIEVAL.replace("alice@example.test", "alice"), "account: 'alice' is not of the form local@domain"),
        (RETRIEVAL.replace("alice@", "sales@"), "account: sales@example.test is declared as an alias; allowed: a user"),
        (RETRIEVAL.replace(":1110", ""), "server: '127.0.0.1' has no port; allowed: HOST:PORT"),
        (RETRIEVAL.replace("{file: secrets/al}", "al"), "password: a literal secret; allowed: a reference to it"),
        (RETRIEVAL.replace(", password: {file: secrets/al}", ""), "password: this key is missing"),
        (f"{RETRIEVAL}, tls: ssl", 'tls: "ssl" is not known; allowed: none, starttls, implicit'),
        (f"{RETRIEVAL}, tls: none, ca: ca.pem", "tls none looks at no certificate; allowed: ca with tls"),
        (f"{RETRIEVAL}, keep: 12h", 'keep: "12h" are no whole days; allowed: false, true, or days as in 14d'),
        (f"{RETRIEVAL}, keep: 14", "keep: 14 is no duration; allowed: a whole number and s, m, h or d; write 14s?"),
        (f"{RETRIEVAL}, keep: 9999d", "keep: 9999 days are out of range; allowed: false, true, or 1d to 3650d"),
        (f"{RETRIEVAL}, interval: 1s", "interval: 1 s is out of range; allowed: 30s to 7d"),
        (f"{RETRIEVAL}, folder: a//b", "folder: 'a//b' is no mailbox; allowed: INBOX, or names with / between them"),
        (f"{RETRIEVAL}, apop: yes", "apop: true is not known; allowed: auto, require, never"),
    ],
)
def test_retrieval_refused(tmp_path: Path, text: str, expected: str) -> None:
    """Mistakes of retrieval entries are told in their places."""
    head = "version: 1\ndomains: {example.test: {users: {alice: {}}, aliases: {sales: [alice]}}}\nretrieval:\n"
    [found] = problems(tmp_path, f"{head}  - {{{text}}}\n")
    place, _, said = found.partition(": retrieval[0]")
    assert place.startswith("4:")
    assert said.lstrip(".: ").startswith(expected)


def test_retrieval_names(tmp_path: Path) -> None:
    """Each name stands once, whatever its case."""
    again = RETRIEVAL.replace("name: al", "name: AL")
    [found] = problems(tmp_path, f"version: 1\nretrieval:\n  - {{{RETRIEVAL}}}\n  - {{{again}}}\n")
    assert found == "4:6: retrieval[1].name: AL is declared in line 3 already; allowed: once"


def test_domains_refused(tmp_path: Path) -> None:
    """Names of domains are host names, each once however it is written."""
    found = problems(tmp_path, "version: 1\ndomains:\n  bücher.test:\n  xn--bcher-kva.test:\n  a_b.test:\n  a b:\n")
    assert [line.split(": ")[0] for line in found] == ["4:3", "5:3", "6:3"]
    assert "declared in line 3 already" in found[0]


def test_circle_over_domains(tmp_path: Path) -> None:
    """A circle of aliases is found across domains."""
    text = "version: 1\ndomains:\n  a.test: {aliases: {x: [y@b.test]}}\n  b.test: {aliases: {y: [x@a.test]}}\n"
    [found] = problems(tmp_path, text)
    assert found.startswith("4:26: domains.b.test.aliases.y[0]: circular: x@a.test -> y@b.test -> x@a.test;")


def test_all_in_one_go(tmp_path: Path) -> None:
    """Mistakes of every kind are told together, in the order of the text."""
    text = """\
version: 2
domains:
  example.test:
    postmaster: nobody
    users:
      alice: {password: secret, quota: many}
      on: {}
    aliases:
      sales: [alcie, 5]
retrieval: {}
"""
    found = [line.split(": ")[0] for line in problems(tmp_path, text)]
    assert found == ["1:10", "4:17", "6:25", "6:40", "7:7", "9:15", "9:22", "10:12"]


@pytest.mark.parametrize("text", ["", "[]", "accounts", "version: 1\ndomains: [example.test]\n", "{version: 1, a: *b}"])
def test_no_such_file(tmp_path: Path, text: str) -> None:
    """What is no accounts file at all is one clear mistake or two, never a traceback."""
    assert 1 <= len(problems(tmp_path, text)) <= 2


def test_unreadable(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(SpecErrors, match=r"none\.yaml: cannot be read: No such file"):
        read_declaration(tmp_path / "none.yaml")


def test_many(tmp_path: Path) -> None:
    """A chain of aliases as long as the file may be is read in one pass, not in one per alias."""
    count = 5_000
    aliases = "".join(f"      a{number}: [a{number + 1}]\n" for number in range(count))
    found = read(tmp_path, in_domain(f"aliases:\n{aliases}      a{count}: [x@elsewhere.test]"))
    assert len(found.objects) == count + 2
