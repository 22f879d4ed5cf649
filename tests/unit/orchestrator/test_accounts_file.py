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
    assert str(found.addresses[bob]) == "Bob@example.test"
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
            " protocols; did you mean name?",
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
            "users: {alice: {protocols: [ldap]}}",
            '4:33: domains.example.test.users.alice.protocols[0]: "ldap" is not known; allowed: smtp, pop',
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
            '4:44: domains.example.test.aliases.sales[0]: "alcie" is no target; allowed: a user or alias of'
            " example.test, or an address; did you mean alice?",
        ),
        (
            'aliases: {sales: ["a b@elsewhere.test"]}',
            '4:23: domains.example.test.aliases.sales[0]: "a b@elsewhere.test" is no target; allowed: a user or alias'
            " of example.test, or an address",
        ),
        (
            "aliases: {sales: [x@elsewhere.test, X@elsewhere.test]}",
            "4:41: domains.example.test.aliases.sales[1]: X@elsewhere.test is named twice; allowed: once",
        ),
        ("aliases: {sales: []}", "4:22: domains.example.test.aliases.sales: the list has 0 items; allowed: 1 or more"),
        (
            "aliases: {a: [b], b: [x@elsewhere.test, a]}",
            "4:45: domains.example.test.aliases.b[1]: circular: a@example.test -> b@example.test -> a@example.test;"
            " allowed: no way back to the alias itself",
        ),
        (
            "aliases: {a: [A]}",
            "4:19: domains.example.test.aliases.a[0]: circular: a@example.test -> a@example.test; allowed: no way back"
            " to the alias itself",
        ),
        (
            "{postmaster: alcie, users: {alice: {}}}",
            '4:18: domains.example.test.postmaster: example.test has no user or alias "alcie"; allowed: one of them;'
            " did you mean alice?",
        ),
        (
            "{postmaster: alice, users: {alice: {}}, aliases: {postmaster: [alice]}}",
            "4:18: domains.example.test.postmaster: example.test has a user or alias of that name, too; allowed: one"
            " of both",
        ),
        (
            "lists: {team: {members: [alice]}}",
            "4:5: domains.example.test.lists: unknown key; allowed: postmaster, users, aliases; did you mean aliases?",
        ),
        ("catch_all: null", "4:5: domains.example.test.catch_all: unknown key; allowed: postmaster, users, aliases"),
    ],
)
def test_refused(tmp_path: Path, text: str, expected: str) -> None:
    """Each mistake is told once, in its place, with what is allowed."""
    assert problems(tmp_path, in_domain(text)) == [expected]


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
retrieval: []
"""
    found = [line.split(": ")[0] for line in problems(tmp_path, text)]
    assert found == ["1:10", "4:17", "6:25", "6:40", "7:7", "9:15", "9:22", "10:1"]


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
