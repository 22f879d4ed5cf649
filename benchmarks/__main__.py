"""A short round of everything: `make bench`. Figures worth keeping come from the single scripts, with more rounds."""

from benchmarks import deliver, idle_memory, pop_session, report, smtp_accept

if __name__ == "__main__":
    print(report.machine())
    idle_memory.main([])
    smtp_accept.main(["--messages", "500", "--rounds", "3"])
    deliver.main(["--messages", "500", "--rounds", "3"])
    pop_session.main(["--rounds", "2"])
