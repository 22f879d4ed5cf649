"""What was applied, told from the generations on disk: one row each, and how two of them differ. Changes nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from maillib.errors import NotFound
from maillib.settings.base import Json
from orchestrator import generation, locks, yamltext
from orchestrator.differences import Difference, differences
from orchestrator.errors import GenerationDamaged
from orchestrator.generation import Generation
from orchestrator.problems import SpecErrors

_HASHES = "password_hash"
"""Key of accounts.yaml whose value is nobody's to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One generation, for people and machines."""

    number: int
    when: str | None
    by: str | None
    result: str
    """`applied`, `rolled back`, …; `under way`, or `damaged` when its files do not tell."""
    error: str | None
    summary: str
    current: bool

    def as_json(self) -> dict[str, Json]:
        return {name: getattr(self, name) for name in self.__slots__}


def rows(state_dir: Path) -> list[Row]:
    """All that are kept, oldest first."""
    try:
        held = generation.current(state_dir)
    except GenerationDamaged:  # `status` says so
        held = None
    is_busy = locks.holder(state_dir) is not None
    return [_row(one, is_current=one == held, is_busy=is_busy) for one in generation.every(state_dir)]


def numbered(state_dir: Path, number: int) -> Generation:
    """Raises NotFound; GenerationDamaged when it is not as it was written."""
    found = generation.numbered(state_dir, number)
    if found is None:
        known = ", ".join(str(one.number) for one in generation.every(state_dir))
        raise NotFound(f"there is no generation {number}; there are {known or 'none yet'}")
    found.verify()
    return found


def before(state_dir: Path, held: Generation) -> Generation:
    """The last one before `held` that was in force. Raises NotFound, GenerationDamaged."""
    for one in reversed(generation.every(state_dir)):
        if one.number < held.number and _result(one).get("outcome") == "applied":
            one.verify()
            return one
    raise NotFound(f"no generation before {held.number} was in force")


def path_of_spec(one: Generation) -> Path:
    """Where the spec was that it was made from: relative paths of it start there. Raises GenerationDamaged."""
    made = one.data(generation.MADE)
    return Path(str(made.get("spec")) if isinstance(made, dict) else "services.yaml")


def compare(old: Generation, new: Generation) -> tuple[Difference, ...]:
    """Where they differ, as `plan` names it; what accounts.yaml declares below /accounts."""
    return (
        *differences(_services(old), _services(new)),
        *differences(_accounts(old), _accounts(new), "/accounts"),
    )


def _row(one: Generation, *, is_current: bool, is_busy: bool) -> Row:
    try:
        result, made, todo = _result(one), one.data(generation.MADE), one.data(generation.PLAN)
    except GenerationDamaged as error:
        return Row(
            number=one.number, when=None, by=None, result="damaged", error=str(error), summary="", current=is_current
        )
    made = made if isinstance(made, dict) else {}
    outcome = result.get("outcome") or ("applied" if is_current else "under way" if is_busy else "broken off")
    return Row(
        number=one.number,
        when=_text(made.get("when")),
        by=_text(made.get("by")),
        result=str(outcome),
        error=_text(result.get("error")),
        summary=summary(todo),
        current=is_current,
    )


def _result(one: Generation) -> Mapping[str, Json]:
    result = one.data(generation.RESULT)
    return result if isinstance(result, dict) else {}


def summary(todo: Json) -> str:
    """A plan in a few words: `add pop; reload smtp, spool; 2 accounts`."""
    if not isinstance(todo, dict):
        return ""
    by_verb: dict[str, list[str]] = {}
    for action in _objects(todo.get("actions")):
        if action.get("action") not in ("none", "hold"):
            by_verb.setdefault(str(action.get("action")), []).append(str(action.get("service")))
    words = [f"{verb} {', '.join(names)}" for verb, names in by_verb.items()]
    accounts = sum(1 for one in _objects(todo.get("accounts")) if one.get("verb") != "keep")
    if accounts:
        words.append(f"{accounts} change{'s' if accounts > 1 else ''} of accounts")
    return "; ".join(words) or "no process touched"


def _objects(rows: Json) -> Iterator[Mapping[str, Json]]:
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict):
            yield row


def _services(one: Generation) -> Json:
    """resolved.json with the keys of a service where the spec has them."""
    resolved = one.data(generation.RESOLVED)
    services = resolved.get("services") if isinstance(resolved, dict) else None
    if not isinstance(resolved, dict) or not isinstance(services, dict):
        return {}
    flat: dict[str, Json] = {}
    top = {key: value for key, value in resolved.items() if key != "accounts"}
    for name, row in services.items():
        config = row.get("config") if isinstance(row, dict) else None
        if isinstance(row, dict) and isinstance(config, dict):
            if config.get("tls") is not None:
                top["tls"] = config["tls"]
            of_service = {key: value for key, value in config.items() if key not in resolved}
            flat[name] = {**of_service, "enabled": row.get("enabled"), "depends_on": row.get("depends_on")}
    return {**top, "services": flat}


def _accounts(one: Generation) -> Json:
    """What its accounts.yaml declares, without hashes of passwords: a digest tells that one changed."""
    text = one.text(generation.ACCOUNTS)
    if text is None:
        return None
    try:
        return _without_hashes(yamltext.parse(text.encode(), file=str(one.path / generation.ACCOUNTS)).value)
    except SpecErrors:  # an earlier version has read it, this one cannot
        return text


def _without_hashes(value: Json) -> Json:
    if isinstance(value, dict):
        return {
            key: _fingerprint(str(inner)) if key == _HASHES else _without_hashes(inner) for key, inner in value.items()
        }
    return [_without_hashes(inner) for inner in value] if isinstance(value, list) else value


def _fingerprint(text: str) -> str:
    import hashlib

    return f"sha256 {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None
