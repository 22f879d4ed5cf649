"""The entry of `postroom`: one line and one exit code per outcome."""

import os
import re
from pathlib import Path

import pytest

from maillib.errors import MailError, NotFound
from maillib.version import VERSION
from orchestrator import cli, errors
from orchestrator.problems import SpecErrors


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["postroom", *arguments])
    return cli.main()


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints it on stdout."""
    assert _main(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"postroom {VERSION}\n"


@pytest.mark.parametrize("arguments", [["frobnicate"], ["status", "--nope"], ["stop"], ["wait", "--for", "love"]])
def test_usage_errors_are_one_line_and_64(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unknown verbs, options and values, and missing arguments."""
    assert _main(monkeypatch, *arguments) == 64
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_wrong_value_is_told_without_the_words_of_a_library(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was given, and what is allowed."""
    assert _main(monkeypatch, "wait", "--for", "love") == 64
    assert capsys.readouterr().err.startswith("postroom: Invalid value for '--for': 'love' is not one of 'ready', ")


def test_each_finding_is_a_line_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 73 with all that speaks against an apply, each line said by whom."""
    (tmp_path / "services.yaml").write_text(
        "version: 1\nhostname: mail.example.test\nservices:\n"
        '  pop: {protocol: pop, listen: [{address: "192.0.2.1:2110"}, {address: "192.0.2.1:2995"}]}\n'
    )
    spec = str(tmp_path / "services.yaml")
    assert _main(monkeypatch, "-f", spec, "apply") == 73
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith(f"postroom: {spec}:4:") for line in lines)
    assert not (tmp_path / "var").exists()


def test_group_alone_prints_its_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`postroom queue` is a usage error that shows the verbs there are."""
    assert _main(monkeypatch, "queue") == 64
    assert capsys.readouterr().err.startswith("Usage: postroom queue ")


def test_a_file_may_be_named_like_a_verb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What follows -f is a file; the verb comes after it."""
    monkeypatch.chdir(tmp_path)
    assert _main(monkeypatch, "-f", "queue", "status") == 65
    assert capsys.readouterr().err == "queue: cannot be read: No such file or directory\n"


@pytest.mark.parametrize("noun", cli._NOUNS)
def test_every_group_is_listed_and_found(
    noun: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Help of the whole names it, and its own help is there."""
    assert _main(monkeypatch, "--help") == 0
    assert f"  {noun} " in capsys.readouterr().out
    assert _main(monkeypatch, noun, "--help") == 0
    assert f"Usage: postroom {noun} " in capsys.readouterr().out


def test_unreadable_spec_is_65(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file without permission to read it is told as one that is not there is."""
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    spec = tmp_path / "services.yaml"
    spec.touch(mode=0)
    assert _main(monkeypatch, "-f", str(spec), "status") == 65
    assert "cannot be read: Permission denied" in capsys.readouterr().err


def test_an_error_of_the_system_is_told_with_its_file_and_without_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What people can do something about: which file, and what is wrong with it."""
    (tmp_path / "services.yaml").write_text(
        "version: 1\nhostname: mail.example.test\n"
        'services: {pop: {protocol: pop, listen: [{address: "127.0.0.1:2110"}]}}\n'
    )
    sealed = tmp_path / "missing" / "plan"
    assert _main(monkeypatch, "-f", str(tmp_path / "services.yaml"), "plan", "-o", str(sealed)) == 1
    assert re.fullmatch(rf"postroom: {sealed}\S*: No such file or directory\n", capsys.readouterr().err)


def test_missing_spec_is_65(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is not there is a bad spec, named in one line."""
    assert _main(monkeypatch, "-f", str(tmp_path / "services.yaml"), "status") == 65
    assert "services.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SpecErrors([]), 65),
        (errors.SupervisorDown(), 69),
        (errors.SupervisorEnding(), 69),
        (errors.PreflightFailed(), 73),
        (errors.Locked(), 75),
        (errors.NotReady(), 3),
        (errors.ApplyFailed("", outcome="rolled back", generation=1), 4),
        (errors.SupervisorFault(1, "x"), 1),
        (NotFound(), 1),
        (MailError(), 1),
        (PermissionError(), 77),
        (FileNotFoundError(), 1),
    ],
)
def test_each_error_has_its_code(error: MailError | OSError, code: int) -> None:
    """The codes are a contract with scripts."""
    assert cli.exit_code(error) == code
