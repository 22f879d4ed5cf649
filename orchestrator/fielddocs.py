"""The documentation of settings: the docstring that stands below a field in the source."""

import ast
import inspect
import itertools
import textwrap
from functools import cache


@cache
def field_docs(kind: type) -> dict[str, str]:
    """Field to its docstring on one line, fields of base classes included; those without one are missing."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith(("orchestrator.", "maillib.")):
            found |= _own(base)
    return found


def _own(kind: type) -> dict[str, str]:
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, str] = {}
    for field, after in itertools.pairwise(definition.body):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found


def summary(kind: type) -> str:
    """The class's own docstring on one line."""
    return " ".join((kind.__doc__ or "").split())
