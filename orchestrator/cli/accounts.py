"""The declared accounts of a spec, as `apply` takes them."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.spec import Spec


@dataclass(frozen=True, slots=True)
class NoAccounts:
    """The spec names no declaration: accounts are the command line's alone."""

    text: None = None

    def plan(self) -> Sequence[str]:
        return ()

    def apply(self) -> None:
        pass


def of_spec(spec: Spec) -> NoAccounts:
    return NoAccounts()
