"""Whether this host is as the spec needs it, found out before anything is changed.

One module a topic. Facts of the host are looked up once (`host`); what is judged by them alone is a pure function, and
the kinds of findings stand beside it. Nothing is written, no port listened on, nothing asked that could wait. What our
own processes hold is no finding: their ports move with them.
Leaves to others: what speaks for itself in the spec (validation), the accounts' secrets (`cli.accounts`, with
`secretrefs`), and what runs (`doctor`).
"""

from collections.abc import Iterator, Sequence, Set

from maillib.errors import ConfigError
from orchestrator.errors import PreflightFailed
from orchestrator.place import Place
from orchestrator.preflight import clock, open_files, ports, programs, space, state_dir, tls, users
from orchestrator.preflight import host as host_
from orchestrator.preflight.finding import Finding, located
from orchestrator.preflight.listening import Sockets
from orchestrator.spec import Spec


def check(spec: Spec) -> list[Finding]:
    """Raises PreflightFailed with every finding that is an error; returns the others."""
    findings = find(spec)
    refuse_errors(findings)
    return findings


def refuse_errors(findings: Sequence[Finding]) -> None:
    """Raises PreflightFailed with a line for each error."""
    errors = [str(finding) for finding in findings if finding.is_error]
    if errors:
        raise PreflightFailed("\n".join(errors))


def find(spec: Spec) -> list[Finding]:
    """Everything that is to be said of an apply of `spec` on this host now, in the order of the spec's topics."""
    return [*located(_find(spec), spec.path, spec.text)]


def _find(spec: Spec) -> Iterator[Finding]:
    from orchestrator import holds, processes

    host, sockets = host_.look(), Sockets()
    ours = {process.pid for process in processes.of_suite(Place(spec.state_dir))}
    held: Set[str] = frozenset()
    unusable = state_dir.unusable(spec.state_dir, host)
    if unusable is not None:
        yield unusable
    else:
        try:
            held = holds.read(spec.state_dir).keys()
        except ConfigError:
            yield state_dir.HOLDS.at(("state_dir",), f"{spec.state_dir / holds.LEDGER} is damaged")
        yield from state_dir.find(spec, host)
        yield from space.find(spec)
        yield from clock.find(spec, host)
    yield from programs.find(spec, sockets, ours)
    yield from users.find(spec, host)
    yield from open_files.find(spec, host)
    yield from ports.find(spec, host, sockets, ours, held)
    yield from tls.find(spec, host)
