"""The verbs on the spec, as a person or a pipeline runs them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from maillib.settings import service as service_settings

GOOD = """\
version: 1
hostname: mail.example.test
state_dir: var
services:
  pop: {protocol: pop, listen: [{address: "127.0.0.1:2110"}]}
"""
BAD = GOOD.replace("2110", "0").replace("hostname", "hostnam")


def postroom(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "postroom"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    (tmp_path / "services.yaml").write_text(GOOD)
    return tmp_path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    (tmp_path / "services.yaml").write_text(BAD)
    return tmp_path


def test_validate(good: Path) -> None:
    """A good spec: exit 0, nothing on stdout, and nothing made on disk."""
    done = postroom(good, "validate")
    assert (done.returncode, done.stdout) == (0, "")
    assert [path.name for path in good.iterdir()] == ["services.yaml"]


def test_validate_refuses(bad: Path) -> None:
    """A bad spec: exit 65, one line per mistake on stderr, as the file was named."""
    done = postroom(bad, "validate")
    assert (done.returncode, done.stdout) == (65, "")
    places = [line.split(": ")[0] for line in done.stderr.splitlines()]
    assert places == ["services.yaml:1:1", "services.yaml:2:1", "services.yaml:5:43"]


def test_both_files_are_named_alike(bad: Path) -> None:
    """Mistakes in the accounts are told with those of the spec, each file as a person there would name it."""
    (bad / "services.yaml").write_text(BAD + "accounts: declared/accounts.yaml\n")
    (bad / "declared").mkdir()
    (bad / "declared/accounts.yaml").write_text("version: 2\n")
    files = {line.split(":")[0] for line in postroom(bad, "validate").stderr.splitlines()}
    assert files == {"services.yaml", "declared/accounts.yaml"}


def test_validate_json(bad: Path) -> None:
    """With --json, every mistake is an object with its place, on stdout."""
    done = postroom(bad, "validate", "--json")
    assert (done.returncode, done.stderr) == (65, "")
    answer = json.loads(done.stdout)
    assert answer["schema_version"] == 1
    assert not answer["valid"]
    assert [(error["code"], error["path"], error["line"], error["column"]) for error in answer["errors"]] == [
        ("missing-key", "hostname", 1, 1),
        ("unknown-key", "hostnam", 2, 1),
        ("address", "services.pop.listen[0].address", 5, 43),
    ]
    assert answer["errors"][1]["hint"] == "did you mean hostname?"
    assert all({"message", "hint"} <= error.keys() for error in answer["errors"])


def test_validate_json_of_a_good_spec(good: Path) -> None:
    """With --json, a good spec has no errors."""
    done = postroom(good, "validate", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"schema_version": 1, "valid": True, "errors": []}


@pytest.mark.parametrize("verb", [("validate",), ("config", "--resolved"), ("render", "--target", "supervisord")])
def test_no_spec(tmp_path: Path, verb: tuple[str, ...]) -> None:
    """Without a spec, each verb says which file it looked for."""
    done = postroom(tmp_path, *verb)
    assert (done.returncode, done.stdout) == (65, "")
    assert done.stderr.startswith("services.yaml: cannot be read: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("config",),
        ("render",),
        ("render", "--target", "kubernetes"),
        ("render", "--target", "supervisord", "--check"),
        ("validate", "--no-such-option"),
        ("validate", "surplus"),
    ],
)
def test_usage(good: Path, arguments: tuple[str, ...]) -> None:
    """A command line that cannot be meant: exit 64, nothing on stdout."""
    done = postroom(good, *arguments)
    assert (done.returncode, done.stdout) == (64, "")


def test_config_of_a_service(good: Path) -> None:
    """`config --resolved --service` prints exactly the file that a worker runs from."""
    done = postroom(good, "config", "--resolved", "--service", "pop")
    assert done.returncode == 0
    loaded = service_settings.parse(done.stdout)
    assert loaded.generation == 0
    assert loaded.service.state_dir == str(good / "var")


def test_config_of_an_unknown_service(good: Path) -> None:
    """A service that is not there is an error of usage that names those that are."""
    done = postroom(good, "config", "--resolved", "--service", "smtp")
    assert (done.returncode, done.stdout) == (64, "")
    assert "there are pop" in done.stderr


def test_config(good: Path) -> None:
    """`config --resolved` prints the whole spec with its defaults, as JSON."""
    answer: dict[str, Any] = json.loads(postroom(good, "config", "--resolved").stdout)
    assert answer["state_dir"] == str(good / "var")
    assert answer["services"]["pop"]["config"]["stop"]["drain"] == 60


def test_schema(tmp_path: Path) -> None:
    """`schema` needs no spec and prints a JSON Schema of the newest dialect."""
    done = postroom(tmp_path, "schema")
    assert done.returncode == 0
    assert json.loads(done.stdout)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_init(tmp_path: Path) -> None:
    """`init` makes a folder from which everything else works, and whose schema is where the modeline says."""
    assert postroom(tmp_path, "init", "mail").returncode == 0
    folder = tmp_path / "mail"
    assert postroom(folder, "validate").returncode == 0
    first = (folder / "services.yaml").read_text().splitlines()[0]
    assert (folder / first.partition("$schema=")[2]).is_file()
    assert (folder / "accounts.yaml").is_file()


@pytest.mark.parametrize("name", ["services.yaml", "accounts.yaml"])
def test_init_never_overwrites(tmp_path: Path, name: str) -> None:
    """When any of its files is there already, `init` writes nothing at all: exit 1."""
    (tmp_path / name).write_text("mine")
    done = postroom(tmp_path, "init")
    assert done.returncode == 1
    assert f"{name} is there already" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_render_and_check(good: Path) -> None:
    """`render -o` writes what `render --check` then finds equal; any difference is named, exit 2."""
    render = ("render", "--target", "supervisord", "-o", "out")
    missing = postroom(good, *render, "--check")
    assert (missing.returncode, missing.stdout) == (2, "services/pop.json\nsupervisord.conf\n")
    assert not (good / "out").exists()

    assert postroom(good, *render).returncode == 0
    assert postroom(good, *render, "--check").returncode == 0

    with (good / "out" / "supervisord.conf").open("a") as file:
        file.write("[program:evil]\n")
    (good / "out" / "services" / "gone.json").write_text("{}")
    changed = postroom(good, *render, "--check")
    assert (changed.returncode, changed.stdout) == (2, "services/gone.json\nsupervisord.conf\n")

    assert postroom(good, *render).returncode == 0
    assert postroom(good, *render, "--check").returncode == 0


def test_render_to_stdout(good: Path) -> None:
    """`render` without a folder prints supervisord.conf, and writes nothing."""
    done = postroom(good, "render", "--target", "supervisord")
    assert done.returncode == 0
    assert "[program:pop]" in done.stdout
    assert [path.name for path in good.iterdir()] == ["services.yaml"]
