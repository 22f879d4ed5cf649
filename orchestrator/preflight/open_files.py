"""Open files: as many as the connections need that a service allows."""

from collections.abc import Iterator

from maillib.settings.service import Limits
from orchestrator.preflight.finding import Finding, Kind, Severity
from orchestrator.preflight.host import Host
from orchestrator.problems import Where
from orchestrator.spec import Spec

FEW = Kind(
    "open-files-few",
    Severity.ERROR,
    "A service's processes may not open as many files as its `limits.connections` need: 64 for itself and two for each "
    "connection.",
    "raise `limits.open_files` or the host's limit, add processes, or lower `limits.connections`",
)
CAPPED = Kind(
    "open-files-capped",
    Severity.WARNING,
    "The host's hard limit for a process is below `limits.open_files`; it is enough for `limits.connections` all the "
    "same.",
    "raise the limit (`ulimit -Hn`, LimitNOFILE), or lower `limits.open_files`",
)
OF_ALL = Kind(
    "open-files-host",
    Severity.WARNING,
    "All processes of the spec together may open more files than the kernel allows the whole host (fs.file-max).",
    "raise fs.file-max, or lower `limits.open_files`",
)


def find(spec: Spec, host: Host) -> Iterator[Finding]:
    enabled = {name: service.config for name, service in spec.services.items() if service.enabled}
    for name, config in enabled.items():
        if config.listen:
            yield from judge(("services", name, "limits"), config.limits, config.processes, host)
    wanted = sum(config.limits.open_files * config.processes for config in enabled.values())
    if host.open_files_of_all is not None and wanted > host.open_files_of_all:
        said = f"all services together may open {wanted} files; fs.file-max is {host.open_files_of_all}"
        yield OF_ALL.at(("services",), said)


def judge(where: Where, limits: Limits, processes: int, host: Host) -> Iterator[Finding]:
    """Of one service."""
    had = limits.open_files if host.open_files is None else min(limits.open_files, host.open_files)
    room = limits.connections_with(had) * processes
    if room < limits.connections:
        cause = f"limits.open_files is {limits.open_files}"
        if had < limits.open_files:
            cause = f"this host allows a process {had} open files"
        said = f"{cause}: room for {room} connections, limits.connections is {limits.connections}"
        yield FEW.at((*where, "open_files"), said)
    elif had < limits.open_files:
        said = f"limits.open_files is {limits.open_files}, this host allows {had} (ulimit -Hn)"
        yield CAPPED.at((*where, "open_files"), said)
