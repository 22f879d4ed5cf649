"""How much memory does the whole suite take while it has nothing to do?

PSS counts a page that several processes share in parts, so it adds up; pages shared with other programs of the machine
(other Pythons, say) make it smaller. Private is what is shared with nobody: it leaves out nothing but that.
"""

import argparse
from pathlib import Path

from benchmarks import processes, report, suite
from benchmarks.processes import Memory


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=1, help="workers of each service")
    options = parser.parse_args(arguments)
    with suite.running(options.processes) as ours:
        masters = {pid: name for name, pid in ours.pids().items()}
        supervisord = processes.parent(next(iter(masters)))
        found = [(_name(pid, masters), processes.memory(pid)) for pid in processes.tree(supervisord)]
    total = Memory(sum(memory.pss for _, memory in found), sum(memory.private for _, memory in found))
    rows = [
        (name, *(f"{octets / report.MIB:.1f}" for octets in (memory.pss, memory.private)))
        for name, memory in [*found, (f"sum of {len(found)} processes", total)]
    ]
    report.table("The idle suite", ("process", "PSS MiB", "private MiB"), rows)


def _name(pid: int, masters: dict[int, str]) -> str:
    """What the process is, by its pid or by the script it runs."""
    if pid in masters:
        return f"master {masters[pid]}"
    scripts = [Path(word) for word in processes.command(pid) if word.endswith(".py")]
    if scripts and scripts[0].parent.name == "workers":
        return f"worker {scripts[0].stem}"
    return scripts[0].stem if scripts else "supervisord"


if __name__ == "__main__":
    print(report.machine())
    main()
