"""References to secrets."""

from pathlib import Path

import pytest

from maillib.secret import MAX_OCTETS, SecretRef, SecretUnreadable
from orchestrator import yamltext
from orchestrator.fields import Secret
from orchestrator.validation import Model, validate


class Holder(Model):
    """Something with a password."""

    password: Secret


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"hunter2", "hunter2"),
        (b"hunter2\n", "hunter2"),
        (b"hunter2\r\n", "hunter2"),
        (b"hunter2\n\n", "hunter2\n"),
        (b" hunter2 \n", " hunter2 "),
        (b"hunter2\r", "hunter2\r"),
        (b"two\nlines\n", "two\nlines"),
        ("pässwörd".encode(), "pässwörd"),
        (b"", ""),
    ],
)
def test_file(tmp_path: Path, content: bytes, secret: str) -> None:
    """Of a file, one trailing line end is dropped and all else counts."""
    path = tmp_path / "secret"
    path.write_bytes(content)
    assert SecretRef("file", str(path)).read() == secret


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable counts as it is."""
    monkeypatch.setenv("PASSWORD_OF_A_TEST", "hunter2\n")
    assert SecretRef("env", "PASSWORD_OF_A_TEST").read() == "hunter2\n"


def test_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A credential is a file in the folder that the service manager names."""
    (tmp_path / "relay").write_text("hunter2\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert SecretRef("credential", "relay").read() == "hunter2"


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong, the error names the reference and never the content."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    (tmp_path / "binary").write_bytes(b"hunter2\xff")
    (tmp_path / "large").write_bytes(b"hunter2" * MAX_OCTETS)
    for reference in (
        SecretRef("env", "NO_SUCH_VARIABLE_OF_A_TEST"),
        SecretRef("credential", "relay"),
        SecretRef("file", str(tmp_path / "missing")),
        SecretRef("file", str(tmp_path)),
        SecretRef("file", str(tmp_path / "binary")),
        SecretRef("file", str(tmp_path / "large")),
    ):
        with pytest.raises(SecretUnreadable, match=reference.name) as refused:
            reference.read()
        assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("{env: RELAY_PASSWORD}", SecretRef("env", "RELAY_PASSWORD")),
        ("{file: secrets/relay}", SecretRef("file", "/etc/postroom/secrets/relay")),
        ("{file: /run/relay}", SecretRef("file", "/run/relay")),
        ("{credential: relay}", SecretRef("credential", "relay")),
    ],
)
def test_declared(text: str, reference: SecretRef) -> None:
    """The three kinds of reference, a relative path starting at the file that names it."""
    holder, problems = validate(yamltext.parse(f"password: {text}".encode(), file="f"), Holder)
    assert problems == []
    assert holder is not None
    assert holder.password.ref(Path("/etc/postroom")) == reference


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("hunter2", "literal-secret"),
        ("12345678", "literal-secret"),
        ("true", "literal-secret"),
        ("[hunter2]", "literal-secret"),
        ("null", "literal-secret"),
        ("{}", "secret"),
        ("{file: a, env: B}", "secret"),
        ("{file: null}", "secret"),
        ("{value: hunter2}", "unknown-key"),
        ("{file: ''}", "path"),
        ("{env: 'A=B'}", "form"),
        ("{credential: ../shadow}", "form"),
    ],
)
def test_refused(text: str, code: str) -> None:
    """Anything but one good reference is refused, and a literal secret is never shown."""
    holder, problems = validate(yamltext.parse(f"password: {text}".encode(), file="f"), Holder)
    assert holder is None
    assert [problem.code for problem in problems] == [code]
    assert "hunter2" not in str(problems[0])
    assert "12345678" not in str(problems[0])
