"""A plan for people: what is done to each service, what it costs, and why."""

import json
from collections.abc import Iterator

from maillib.settings.base import Json
from orchestrator.differences import Difference
from orchestrator.plan import Action, Effect, Plan, Verb, Way
from orchestrator.units import unit_text

_VALUE_LIMIT = 60
"""Characters of a value; all of it is in the JSON."""

_NAMES_LIMIT = 8
"""Services without a change, or accounts, that are named one by one."""


def text(todo: Plan) -> str:
    """A line an action, what it costs besides and its reasons below."""
    lines = [] if todo.supervised else ["supervisord  start"]
    shown = [action for action in todo.actions if action.verb is not Verb.NONE]
    width = max((len(action.service) for action in shown), default=0)
    for action in shown:
        lines.append(f"{action.service:<{width}}  {action.verb:<7}  {_cost(action)}".rstrip())
        lines += [f"{'':<{width}}    {line}" for line in (*_besides(action), *map(difference, action.because))]
    lines += [f"accounts: {line}" for line in accounts(todo)]
    unchanged = [action.service for action in todo.actions if action.verb is Verb.NONE]
    if unchanged:
        many = len(unchanged) > _NAMES_LIMIT
        lines.append(f"unchanged: {f'{len(unchanged)} services' if many else ', '.join(unchanged)}")
    if not todo.changes:
        lines.append("no change")
    return "\n".join(lines)


def accounts(todo: Plan) -> list[str]:
    """A line for each object, but for many that stay as they are."""
    kept = [str(action) for action in todo.accounts if not action.is_change]
    if len(kept) > _NAMES_LIMIT:
        kept = [f"keep {len(kept)} objects as they are, from now on as they are declared"]
    return [*(str(action) for action in todo.accounts if action.is_change), *kept]


def difference(one: Difference) -> str:
    if one.before == one.after:  # a hold: it stays
        return f"{one.path}: {one.before}"
    return f"{one.path}: {_short(one.before)} -> {_short(one.after)}"


def _cost(action: Action) -> str:
    if not action.changes:
        return ""
    effect = action.effect
    refused = "new connections refused"
    if action.verb is Verb.RESTART or action.way is Way.RETUNE:
        refused += " for a moment"
    return f"{_sessions(effect)}, {'no connection refused' if effect.new_connections == 'uninterrupted' else refused}"


def _sessions(effect: Effect) -> str:
    if not effect.sessions_now:
        return "no sessions"
    if effect.sessions_kept < effect.sessions_now:
        return f"{effect.sessions_kept} of {effect.sessions_now} sessions kept"
    return f"{effect.sessions_kept} session{'' if effect.sessions_kept == 1 else 's'} kept"


def _besides(action: Action) -> Iterator[str]:
    effect = action.effect
    if effect.drain_limit_s is not None and effect.sessions_now:
        yield f"drain limit {unit_text('seconds', effect.drain_limit_s)}"
    if effect.listeners_open:
        yield f"listens on {', '.join(effect.listeners_open)}"
    if effect.listeners_close:
        yield f"listens no more on {', '.join(effect.listeners_close)}"
    for held in action.first:
        yield f"{held.service} lets {held.address} go before"
    if effect.messages_waiting:
        waits = "message waits" if effect.messages_waiting == 1 else "messages wait"
        yield f"{effect.messages_waiting} {waits} in the queue"
    if effect.data_kept:
        yield f"{' and '.join(effect.data_kept)} stay"


def _short(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_LIMIT else f"{text[: _VALUE_LIMIT - 1]}…"
