"""The spec together with the accounts it declares, for the verbs that need both."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maillib.secret import SecretRef
from orchestrator import spec as spec_
from orchestrator import yamltext
from orchestrator.admin.accounts_file import Declaration, parse_copy, read_copy, read_declaration
from orchestrator.admin.ownership import AccountAction
from orchestrator.fields import absolute
from orchestrator.problems import Problem, SpecErrors
from orchestrator.spec import Spec
from orchestrator.yamltext import Document

if TYPE_CHECKING:  # the methods import what they need: the engine costs `validate` more than all the rest
    from orchestrator.admin.declared import Order
    from orchestrator.preflight.finding import Finding
    from orchestrator.sealed import Sealed


@dataclass(frozen=True, slots=True)
class DeclaredAccounts:
    """What `apply` is given."""

    state_dir: Path
    declaration: Declaration | None
    """None: the spec names none, accounts are the command line's alone."""
    prune: bool = False
    """Remove what has left the declaration, instead of disabling it."""
    is_rollback: bool = False
    """It is an earlier declaration."""

    @property
    def text(self) -> str | None:
        return None if self.declaration is None else self.declaration.text

    def find(self) -> Iterator["Finding"]:
        """What pre-flight has to say of what is declared: its secrets, and what it cannot be beside."""
        from maillib.ports.credentials import check_password
        from orchestrator.preflight import secretrefs
        from orchestrator.preflight.finding import located

        if self.declaration is not None:
            places = self.declaration.secret_places
            found = (
                finding
                for named, source in self.declaration.secrets.items()
                if isinstance(source, SecretRef)
                for finding in secretrefs.find(
                    places[named], source, check_password if named.kind == "account" else None
                )
            )
            yield from located(found, self.declaration.path, self.declaration.text.encode())
            yield from located(self._clashes(self.declaration), self.declaration.path, self.declaration.text.encode())

    def _clashes(self, declaration: Declaration) -> Iterator["Finding"]:
        from orchestrator.admin import declared
        from orchestrator.preflight import clashing

        for clash in declared.find_clashes(self.state_dir, self._order(declaration)):
            yield clashing.ACCOUNTS.at(declaration.places.get(clash.object, ()), clash.message)

    def plan(self) -> tuple[AccountAction, ...]:
        """Raises PreflightFailed."""
        if self.declaration is None:
            return ()
        from orchestrator.admin import declared

        return declared.plan(self.state_dir, self._order(self.declaration))

    def apply(self) -> Callable[[], None]:
        if self.declaration is None:
            return _nothing
        from orchestrator.admin import declared

        _, way_back = declared.apply(self.state_dir, self._order(self.declaration))
        return way_back.go

    def _order(self, declaration: Declaration) -> "Order":
        from orchestrator.admin.declared import Order

        return Order(declaration=declaration, prune=self.prune, is_rollback=self.is_rollback)


def _nothing() -> None:
    pass


def of_generation(state_dir: Path, copy: Path | None, folder: Path) -> DeclaredAccounts:
    """For a rollback: the declaration that a generation has a `copy` of, its relative paths starting at `folder`.

    Its secrets are read as their references read now, and no password is set because one reads differently. None:
    that generation named no accounts, and they are left alone.
    """
    declaration = None if copy is None else read_copy(copy, folder)
    return DeclaredAccounts(state_dir, declaration, is_rollback=True)


def read(path: Path, *, prune: bool = False) -> tuple[Spec, DeclaredAccounts]:
    """The spec in the file `path` and the accounts it names. Raises SpecErrors with what is wrong with either."""
    problems: list[Problem] = []
    spec = declaration = None
    document = yamltext.read(path)
    try:
        spec = spec_.resolve(document, path)
    except SpecErrors as error:
        problems += error.problems
    accounts = _accounts(document, path) if spec is None else spec.accounts
    if accounts is not None and not path.is_absolute() and accounts.is_relative_to(Path.cwd()):
        accounts = Path(os.path.relpath(accounts))  # named in problems as the spec is
    try:
        declaration = None if accounts is None else read_declaration(accounts)
    except SpecErrors as error:
        problems += error.problems
    if problems or spec is None:
        raise SpecErrors(problems)
    return spec, DeclaredAccounts(spec.state_dir, declaration, prune=prune)


def of_sealed(sealed: "Sealed") -> tuple[Spec, DeclaredAccounts]:
    """What a sealed plan has a copy of: the files themselves may be gone. Raises SpecErrors."""
    terms = sealed.terms
    path = Path(terms.spec.path)
    spec = spec_.resolve(yamltext.parse(terms.spec.text.encode(), file=terms.spec.path), path)
    declaration = None
    if terms.accounts is not None:
        file = Path(terms.accounts.path)
        declaration = parse_copy(terms.accounts.text, file, file.parent)
    return spec, DeclaredAccounts(spec.state_dir, declaration, prune=terms.prune)


def _accounts(document: Document, path: Path) -> Path | None:
    """The accounts file that a spec names which is not valid; None where that cannot be told."""
    named = document.value.get("accounts") if isinstance(document.value, dict) else None
    return Path(absolute(path.parent, named)) if isinstance(named, str) and named.isprintable() else None
