"""Runs the pipelines of docs/ci as GitHub and GitLab would, on this machine: every command as it stands in the file.

What is not a command is mapped to what it stands for: a checkout is a clone, an artifact a folder, a runner a fresh
folder. Whatever is not known here (an action, a condition, a key of a job) is an error: a pipeline does not come to
mean something else without anybody noticing.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.real_suite import LIMIT_S

PIPELINES = Path(__file__).parents[2] / "docs" / "ci"

_PIP = """#!/bin/sh
[ "$*" = "install postroom" ] || { echo "pip: $*" >&2; exit 1; }
"""
"""The Postroom under test is installed already."""

_RECORDING = """#!/bin/sh
printf '%s\\n' "$@" > "$RECORDED/{name}"
for word in "$@"; do [ ! -f "$word" ] || cp "$word" "$RECORDED/"; done
"""
"""Of tools that talk to the forge: what they were asked, and the files they were given."""


@dataclass
class Outcome:
    """Of one job."""

    code: int = 0
    """Exit code of the command that failed; 0: none did."""
    output: str = ""


@dataclass
class Forge:
    """Where a repository is, and what its pipelines run with."""

    folder: Path
    repository: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.artifacts = self.folder / "artifacts"
        self.recorded = self.folder / "recorded"
        self.tools = self.folder / "tools"
        for folder in (self.artifacts, self.recorded, self.tools):
            folder.mkdir(parents=True)
        self._tool("pip", _PIP)
        for name in ("gh", "apk"):
            self._tool(name, _RECORDING.replace("{name}", name))
        self._jobs = 0

    def workspace(self) -> Path:
        """A fresh folder for a job."""
        self._jobs += 1
        folder = self.folder / f"job-{self._jobs}"
        folder.mkdir()
        return folder

    def check_out(self, workspace: Path) -> None:
        """Into the folder, whatever is in it already."""
        _git(workspace, "init", "--quiet")
        _git(workspace, "pull", "--quiet", str(self.repository), "main")

    def shell(self, script: str, workspace: Path, variables: Mapping[str, str]) -> Outcome:
        """As both run it: bash that ends with the first failure."""
        path = f"{self.tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {"HOME": str(self.folder), "PATH": path, "RECORDED": str(self.recorded)}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=workspace,
            env={**environment, **self.variables, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=2 * LIMIT_S,
            check=False,
        )
        return Outcome(done.returncode, done.stdout)

    def keep(self, name: str, paths: Sequence[str], workspace: Path) -> None:
        folder = self.artifacts / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for path in paths:
            if (workspace / path).exists():  # else a warning, with both
                shutil.copy(workspace / path, folder)

    def fetch(self, name: str, workspace: Path) -> None:
        shutil.copytree(self.artifacts / name, workspace, dirs_exist_ok=True)

    def everything(self) -> str:
        """All that a pipeline has left where others see it: artifacts and what the forge was told."""
        folders = (self.artifacts, self.recorded)
        return "".join(path.read_text() for folder in folders for path in folder.rglob("*") if path.is_file())

    def _tool(self, name: str, text: str) -> None:
        path = self.tools / name
        path.write_text(text)
        path.chmod(0o755)


class GitHub:
    """docs/ci/github-actions.yml."""

    _KEYS = frozenset({"if", "runs-on", "needs", "permissions", "environment", "concurrency", "steps"})
    _EXPRESSIONS: Mapping[str, str] = {
        "${{ github.token }}": "token-of-the-run",
        "${{ github.event.pull_request.number }}": "7",
    }
    _CONDITIONS: Mapping[str, Sequence[str]] = {
        "github.event_name != 'schedule'": ("pull_request", "push"),
        "github.event_name == 'push' || github.event.pull_request.head.repo.full_name == github.repository": (
            "pull_request",
            "push",
        ),
        "github.event_name == 'pull_request'": ("pull_request",),
        "github.event_name == 'push'": ("push",),
        "github.event_name == 'schedule'": ("schedule",),
    }
    """To the events for which they hold, in a repository without forks."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        file = yaml.load(
            (PIPELINES / "github-actions.yml").read_text(), yaml.BaseLoader
        )  # all strings: `on` is no boolean
        assert file["defaults"] == {"run": {"shell": "bash"}} and file["permissions"] == {"contents": "read"}
        self.events = set(file["on"])
        self._jobs: dict[str, Any] = file["jobs"]

    def run(
        self, event: str, *, without: Sequence[str] = (), before: Callable[[str], None] = lambda job: None
    ) -> dict[str, Outcome]:
        """The jobs of a run, as far as those they need have gone well; `before` is called before each.

        Those of `without` go well without being run.
        """
        assert event in self.events
        outcomes: dict[str, Outcome] = {}
        for name, job in self._jobs.items():
            assert set(job) <= self._KEYS
            needed = outcomes.get(job["needs"]) if "needs" in job else Outcome()
            if event in self._CONDITIONS[job["if"]] and needed is not None and needed.code == 0:
                before(name)
                outcomes[name] = Outcome() if name in without else self._job(job)
        return outcomes

    def _job(self, job: Mapping[str, Any]) -> Outcome:
        workspace = self._forge.workspace()
        variables = {
            "GITHUB_REPOSITORY": "example/mail",
            "GITHUB_STEP_SUMMARY": str(self._forge.recorded / "summary.md"),
        }
        outcome = Outcome()
        for step in job["steps"]:
            assert set(step) <= {"name", "if", "uses", "with", "run", "env"} and step.get("if") in (None, "always()")
            if outcome.code and "if" not in step:
                continue
            if "uses" in step:
                self._use(step["uses"], step.get("with", {}), workspace)
                continue
            own = {name: self._EXPRESSIONS[value] for name, value in step.get("env", {}).items()}
            done = self._forge.shell(step["run"], workspace, {**variables, **own})
            outcome = Outcome(outcome.code or done.code, outcome.output + done.output)
        return outcome

    def _use(self, action: str, inputs: Mapping[str, str], workspace: Path) -> None:
        match action:
            case "actions/checkout@v4":
                self._forge.check_out(workspace)
            case "actions/setup-python@v5":
                pass  # the one that runs the tests
            case "actions/upload-artifact@v4":
                self._forge.keep(inputs["name"], inputs["path"].split(), workspace)
            case "actions/download-artifact@v4":
                self._forge.fetch(inputs["name"], workspace)
            case _:
                raise AssertionError(f"what does {action} stand for?")


class GitLab:
    """docs/ci/gitlab-ci.yml."""

    _KEYS = frozenset(
        {"stage", "image", "tags", "rules", "needs", "before_script", "script", "artifacts", "environment"}
        | {"resource_group"}
    )
    _CONDITIONS: Mapping[str, Sequence[str]] = {
        '$CI_PIPELINE_SOURCE != "schedule"': ("merge_request_event", "push"),
        '$CI_PIPELINE_SOURCE == "merge_request_event"': ("merge_request_event",),
        '$CI_PIPELINE_SOURCE != "schedule" && $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH': ("push",),
        '$CI_PIPELINE_SOURCE == "schedule"': ("schedule",),
    }
    """To the sources for which they hold, where pushes are to the default branch."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        file: dict[str, Any] = yaml.safe_load((PIPELINES / "gitlab-ci.yml").read_text())
        self._stages = file.pop("stages")
        del file["workflow"]
        self._jobs = file

    def run(self, source: str, *, without: Sequence[str] = ()) -> dict[str, Outcome]:
        """The jobs of a pipeline, stage by stage; those by hand are begun as soon as they can be."""
        outcomes: dict[str, Outcome] = {}
        for stage in self._stages:
            if any(outcome.code for outcome in outcomes.values()):
                break
            for name, job in self._jobs.items():
                assert set(job) <= self._KEYS
                [rule] = job["rules"]
                if job["stage"] == stage and name not in without and source in self._CONDITIONS[rule["if"]]:
                    outcomes[name] = self._job(name, job)
        return outcomes

    def _job(self, name: str, job: Mapping[str, Any]) -> Outcome:
        workspace = self._forge.workspace()
        self._forge.check_out(workspace)
        for needed in job.get("needs", ()):
            self._forge.fetch(needed, workspace)
        script = "\n".join([*job.get("before_script", ()), *job["script"]])
        variables = {"CI_PROJECT_ID": "5", "CI_MERGE_REQUEST_IID": "7", "REVIEW_TOKEN": "token-of-the-review"}
        outcome = self._forge.shell(script, workspace, variables)
        artifacts = job.get("artifacts", {})
        reports = artifacts.get("reports", {})
        assert set(reports) <= {"junit"}
        if outcome.code == 0 or artifacts.get("when") == "always":
            self._forge.keep(name, [*artifacts.get("paths", ()), *reports.values()], workspace)
        return outcome


def _git(folder: Path, *arguments: str) -> None:
    command = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.test", "-c", "init.defaultBranch=main"]
    subprocess.run([*command, *arguments], cwd=folder, check=True, capture_output=True, timeout=LIMIT_S)


def commit(repository: Path, files: Mapping[str, str], message: str) -> None:
    """To main; the repository is made with the first one."""
    if not repository.exists():
        repository.mkdir()
        _git(repository, "init", "--quiet")
    for name, text in files.items():
        (repository / name).write_text(text)
    _git(repository, "add", "--all")
    _git(repository, "commit", "--quiet", "--message", message)
