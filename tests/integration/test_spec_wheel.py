"""The built wheel, unpacked in a place of its own: everything that a spec needs is in it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_a_spec_from_nothing(site: Path, tmp_path: Path) -> None:
    """In an empty folder, `init`, `validate` and `render` work from the wheel alone, and name its programs."""
    main = "import sys; from orchestrator.cli import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def postroom(*arguments: str) -> str:
        command = [sys.executable, "-P", "-c", main, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    postroom("init")
    postroom("validate")
    rendered = postroom("render", "--target", "supervisord")
    assert f" {site / 'workers' / 'pop.py'} --config {tmp_path / 'var'}/" in rendered
    assert f" {site / 'orchestrator' / 'agent.py'} --state-dir {tmp_path / 'var'}" in rendered
