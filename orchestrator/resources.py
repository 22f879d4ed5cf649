"""Finds the files that come with Postroom: beside the packages in a checkout, in orchestrator/shipped in a wheel."""

import sys
from dataclasses import dataclass
from pathlib import Path

_ORCHESTRATOR = Path(__file__).resolve().parent
_ROOT = _ORCHESTRATOR.parent
_SHIPPED = _ORCHESTRATOR / "shipped"


def templates() -> Path:
    return _shipped("templates")


def example(name: str) -> Path:
    """The `services.yaml` or `accounts.yaml` that `init` writes."""
    return _shipped(name)


def _shipped(name: str) -> Path:
    return (_SHIPPED if _SHIPPED.is_dir() else _ROOT) / name


@dataclass(frozen=True, slots=True)
class Programs:
    """What supervisord starts."""

    python: Path
    agent: Path
    workers: Path
    """Folder of the workers' scripts, one per protocol."""

    def script(self, protocol: str) -> Path:
        return self.workers / f"{protocol}.py"


def programs() -> Programs:
    """Those of this installation, run by the interpreter that runs this one."""
    return Programs(Path(sys.executable), _ORCHESTRATOR / "agent.py", _ROOT / "workers")
