"""From a spec to what a generation of it would hold, and to the plan that leads there. Changes nothing.

Imports nothing that only a change needs: `plan` is to be quick.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator import certificates, generation, plan, resources, survey
from orchestrator import spec as spec_
from orchestrator.admin.ownership import AccountAction
from orchestrator.facts import World
from orchestrator.place import Place
from orchestrator.plan import Plan
from orchestrator.render import Rendered, render
from orchestrator.spec import Spec


class Accounts(Protocol):
    """The declared accounts. Given from outside: only administration touches the store."""

    @property
    def text(self) -> str | None:
        """The declaration as it was read; None: the spec names none."""

    def plan(self) -> Sequence[AccountAction]:
        """What would be done. Raises MailError."""

    def apply(self) -> Callable[[], None]:
        """Do it; services answer by the new data when this returns. The way back, for a switch that failed.

        Raises MailError, as does the way back.
        """


@dataclass(frozen=True, slots=True)
class Draft:
    """A generation as it would be."""

    rendered: Rendered
    resolved: str

    @property
    def files(self) -> Mapping[str, str]:
        """All of it that follows from the spec alone."""
        return {**self.rendered.files, generation.RESOLVED: self.resolved}


def draft(spec: Spec, number: int) -> Draft:
    rendered = render(spec, resources.programs(), generation=number, as_root=os.geteuid() == 0)
    return Draft(rendered, generation.encode(spec_.resolved(spec)))


def plan_for(spec: Spec, wanted: Draft, accounts: Accounts, *, ignore_holds: bool) -> tuple[Plan, World]:
    """The plan that leads to `wanted`, and what it was concluded from."""
    due = certificates.due(spec.state_dir, spec.hostname) if spec.tls_mode == "self-signed" else None
    world = survey.world(Place(spec.state_dir), certificate_due=due)
    return plan.plan(survey.wanted(wanted.files), world, ignore_holds=ignore_holds, accounts=accounts.plan()), world


def make_plan(spec: Spec, accounts: Accounts, *, ignore_holds: bool = False) -> tuple[Plan, World]:
    """What `apply` would do now, and what that follows from."""
    wanted = draft(spec, generation.next_number(spec.state_dir))
    return plan_for(spec, wanted, accounts, ignore_holds=ignore_holds)
