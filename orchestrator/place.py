"""Where everything of one suite is, from its state directory alone."""

from dataclasses import dataclass
from pathlib import Path

from maillib import control

AGENT = "agent"
"""Name of the agent's program."""

AGENT_PACKAGES = ("maillib", "orchestrator")
"""What the agent runs: other code on disk is a reason to restart it."""


@dataclass(frozen=True, slots=True)
class Place:
    """The folders and sockets of one suite."""

    state_dir: Path

    @property
    def run(self) -> Path:
        return control.run_dir(self.state_dir)

    @property
    def supervisor(self) -> Path:
        """supervisord's socket."""
        return self.run / "supervisor.sock"

    @property
    def logs(self) -> Path:
        return self.state_dir / "log"
