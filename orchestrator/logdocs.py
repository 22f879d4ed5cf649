"""docs/log-events.md from `maillib.maillog`: each event function is one row."""

import ast
import inspect
from collections.abc import Iterator

from maillib import maillog

_HEAD = """\
# Log events

One line an event: `ts level worker event key=value …`. `ts` is UTC with milliseconds; `worker` is the service, or
`SERVICE/master`. `queue_id` goes with everything about a message: its story is a `grep` by queue ID in `log/*.log`.
`conn` goes with everything about a connection. A value with a space, quote or control character is a JSON string.
Bodies and passwords are never logged. Made from `maillib/maillog.py`; names and keys are an interface.

| event | level | keys | meaning |
| --- | --- | --- | --- |
"""


def text() -> str:
    """The whole page."""
    return _HEAD + "".join(_rows())


def _rows() -> Iterator[str]:
    for function in ast.parse(inspect.getsource(maillog)).body:
        if not isinstance(function, ast.FunctionDef) or function.name.startswith("_"):
            continue
        emitted = [call for call in ast.walk(function) if isinstance(call, ast.Call) and _is_emit(call)]
        for call in emitted:
            level, event = (ast.literal_eval(argument) for argument in call.args)
            keys = ", ".join(f"`{keyword.arg}`" for keyword in call.keywords)
            meaning = " ".join((ast.get_docstring(function) or "").split())
            yield f"| `{event}` | {level} | {keys} | {meaning} |\n"


def _is_emit(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "_emit"
