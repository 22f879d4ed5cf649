"""Sealed plans: a file that says what is to be done, from which state, and that nobody has changed it since.

`plan -o FILE` writes one, `apply FILE` does exactly that or says what has moved meanwhile. The file is one JSON object:
    kind, schema_version, tool    what it is, and the version of Postroom that made it
    made_by, made_at              who, and when (RFC 3339)
    state_dir                     the suite it is for
    spec, accounts                `path` and `text` of services.yaml and of the accounts it declares (or null): relative
                                  paths in them start beside `path`, which need not be there any more
    override, prune               the options that the plan was made with
    observed                      the facts that the plan follows from
    plan                          what `plan --json` prints
    seal                          SHA-256 of all the rest, canonically written

Guarantees: no secret is in it that is not in these two files (of declared passwords, a short keyed fingerprint); what
was cut short or edited is refused. The seal is no signature: who may write the file may make another plan.
Leaves to others: looking (`survey`), planning (`plan`), doing it under the lock (`apply`).
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from maillib.errors import ConfigError, Conflict
from maillib.settings.base import Json, load
from maillib.version import VERSION
from orchestrator import audit, generation, plan, plantext
from orchestrator.audit import Entry
from orchestrator.differences import Difference, differences
from orchestrator.errors import BadPlan, GenerationDamaged, PlanStale
from orchestrator.facts import Live, World
from orchestrator.plan import Plan
from orchestrator.status import iso

KIND = "postroom plan"
SCHEMA_VERSION = 1

MAX_OCTETS = 64 * 1024 * 1024
"""Both files have a limit of their own, and a thousand services have some megabytes of facts."""

_PASSING = ("sessions_now", "sessions_kept", "messages_waiting", "at_stake")
"""Keys of a plan that change all the time: not what is done, but whom it meets."""


_OF_THE_WHOLE = ("apply", "rollback", "down")
"""Verbs that move more than one service."""


@dataclass(frozen=True, slots=True)
class Moved:
    """One thing that is not as it was when a plan was sealed."""

    what: Difference
    act: Entry | None
    """Who did it, as far as the audit knows."""

    def as_json(self) -> dict[str, Json]:
        row: dict[str, Json] = {"path": self.what.path, "before": self.what.before, "after": self.what.after}
        act = self.act
        return {
            **row,
            "by": None if act is None else act.who,
            "verb": None if act is None else act.verb,
            "when": None if act is None else iso(act.when),
        }

    def __str__(self) -> str:
        told, act = plantext.difference(self.what), self.act
        return told if act is None else f"{told} ({act.verb} by {act.who}, {iso(act.when)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One of the files that people write, as it was read."""

    path: str
    """Absolute."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a sealed plan says in its own words; beside it stand the facts and the plan."""

    spec: Source
    accounts: Source | None
    state_dir: str
    override: Literal["respect", "reset"]
    prune: bool
    tool: str = VERSION
    made_by: str = field(default_factory=audit.user)
    made_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """One file."""

    terms: Terms
    observed: Json
    plan: Json

    def refuse_if_stale(self, todo: Plan, world: World) -> None:
        """Raises PlanStale with everything that moved since. `todo`: the plan from the sealed spec to `world`.

        When that has nothing to do and the very same spec holds, it was applied already: that is not stale.
        """
        state_dir = Path(self.terms.state_dir)
        now = plan.as_json(todo)
        moved = [*differences(self.observed, facts(world)), *differences(_accounts(self.plan), _accounts(now))]
        if not moved:  # a service may be about to start, say
            moved = [*differences(_actions(self.plan), _actions(now))]
        if moved and (todo.changes or not self._holds(state_dir)):
            since = datetime.fromisoformat(self.terms.made_at).timestamp()
            raise PlanStale([Moved(one, _last_act(one.path, state_dir, since)) for one in _named(moved)])

    def _holds(self, state_dir: Path) -> bool:
        """The generation in force was made from these very files."""
        accounts = None if self.terms.accounts is None else self.terms.accounts.text
        try:
            held = generation.current(state_dir)
            found = held and (held.text(generation.SPEC), held.text(generation.ACCOUNTS))
        except GenerationDamaged:
            return False
        return found == (self.terms.spec.text, accounts)


def write(path: Path, sealed: Sealed) -> None:
    """Aside, then renamed: at `path` there is never half a plan. Raises Conflict, OSError."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise Conflict(f"{path} is no plain file, and a plan does not take its place")
    terms = sealed.terms
    content: dict[str, Json] = {
        "kind": KIND,
        "schema_version": SCHEMA_VERSION,
        "tool": terms.tool,
        "made_by": terms.made_by,
        "made_at": terms.made_at,
        "state_dir": terms.state_dir,
        "spec": _source(terms.spec),
        "accounts": None if terms.accounts is None else _source(terms.accounts),
        "override": terms.override,
        "prune": terms.prune,
        "observed": sealed.observed,
        "plan": sealed.plan,
    }
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        generation.write_file(aside, generation.encode({**content, "seal": _seal(content)}))
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def read(path: Path) -> Sealed:
    """Raises BadPlan for what is no sealed plan, not whole, or not of this version of Postroom."""
    try:
        content = _object(path)
        if content.get("kind") != KIND:
            raise BadPlan(f"{path} is no plan; `postroom plan -o FILE` makes one")
        version, tool = content.get("schema_version"), content.get("tool")
        if (version, tool) != (SCHEMA_VERSION, VERSION):
            made = f"Postroom {tool}, format {version}"
            raise BadPlan(f"{path} was made by {made}; this is Postroom {VERSION}, format {SCHEMA_VERSION}: plan again")
        if content.pop("seal", None) != _seal(content):
            raise BadPlan(f"{path} is not as it was sealed: somebody has changed it; plan again")
        del content["kind"], content["schema_version"]
        observed, todo = content.pop("observed"), content.pop("plan")
        return Sealed(terms=load(Terms, content), observed=observed, plan=todo)
    except (ConfigError, KeyError) as error:
        raise BadPlan(f"{path} is no plan: {error}") from None


def facts(world: World) -> dict[str, Json]:
    """All that a plan follows from besides the spec and the accounts, without what changes by itself."""
    return {
        "generation": world.base,
        "supervisord": world.supervised,
        "program": world.code,
        "agent": {"state": "running" if world.agent == "starting" else world.agent, "program": world.agent_code[0]},
        "certificate_due": world.certificate_due,
        "services": {name: _facts(live) for name, live in world.services.items()},
    }


def _facts(live: Live) -> dict[str, Json]:
    return {
        "config": {**live.service},
        "enabled": live.enabled,
        "depends_on": [*live.depends_on],
        "loaded": live.loaded,
        "state": "failed" if live.serving and live.state == "failed" else "running" if live.serving else "not running",
        "supervised": live.supervised,
        "let_go": [*live.let_go],
        "program": live.code,
        "certificate": [*live.certificate],
        "section": {**live.section},
        "hold": live.hold,
    }


def _named(moved: list[Difference]) -> Iterator[Difference]:
    """The same, each once, and by the names that a spec has for it."""
    seen: set[str] = set()
    for one in moved:
        path = one.path
        match path.split("/"):
            case ["", "services", name, "config", key, *rest]:
                path = "/".join(["", key, *rest] if key in plan.OF_THE_SUITE else ["", "services", name, key, *rest])
            case ["", "services", name, "section", *rest]:
                path = "/".join(["", "supervisord", f"program:{name}", *rest])
        if path not in seen:
            seen.add(path)
            yield Difference(path, one.before, one.after)


def _last_act(path: str, state_dir: Path, since: float) -> Entry | None:
    """What the audit knows of who did it."""
    match path.split("/"):
        case ["", "services" | "supervisord", name, *_]:
            acts = audit.since(state_dir, since, names=[name.removeprefix("program:")])
        case ["", "accounts", name, *_]:
            acts = audit.since(state_dir, since, names=[name.partition(" ")[2]])
        case _:
            acts = [act for act in audit.since(state_dir, since) if act.verb in _OF_THE_WHOLE]
    return acts[-1] if acts else None


def _accounts(todo: Json) -> Json:
    """What a plan does to accounts: to each by its name, to each field of it by its own."""
    done: dict[str, Json] = {}
    for row in _rows(todo, "accounts"):
        name = f"{row['kind']} {row['name']}"
        done[name] = row["verb"]
        for change in _rows(row, "changes"):
            done[f"{name}/{change['field']}"] = {"before": change["before"], "after": change["after"]}
    return {"accounts": done}


def _actions(todo: Json) -> Json:
    """What a plan does to services, by their names."""
    return {"plan": {str(row["service"]): row for row in _rows(todo, "actions")}}


def _rows(todo: Json, key: str) -> Iterator[dict[str, Json]]:
    rows = todo.get(key) if isinstance(todo, Mapping) else None
    for row in rows if isinstance(rows, list) else []:
        lasting = _lasting(row)
        if isinstance(lasting, dict):
            yield lasting


def _lasting(todo: Json) -> Json:
    """Without what changes by itself."""
    if isinstance(todo, Mapping):
        return {key: _lasting(value) for key, value in todo.items() if key not in _PASSING}
    return [_lasting(one) for one in todo] if isinstance(todo, list) else todo


def _source(source: Source) -> Json:
    return {"path": source.path, "text": source.text}


def _seal(content: Mapping[str, Json]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def _object(path: Path) -> dict[str, Json]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_OCTETS + 1)
        if len(data) > MAX_OCTETS:
            raise BadPlan(f"{path} is larger than any plan")
        content = json.loads(data)
    except OSError as error:
        raise BadPlan(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise BadPlan(f"{path} is no plan, or was cut short: it is not JSON") from None
    if not isinstance(content, dict):
        raise BadPlan(f"{path} is no plan: it is not a JSON object")
    return content
