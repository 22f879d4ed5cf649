"""A short round of everything: `make bench`. Figures worth keeping come from the single scripts, with more rounds."""

from benchmarks import deliver, idle_memory, pop_session, report, smtp_accept

if __name__ == "__main__":
    print(report.machine())
    idle_memory.main([])
    smtp_accept.main(["--messages", "1000", "--rounds", "3"])
    deliver.main(["--messages", "1000", "--rounds", "2"])
    pop_session.main(["--rounds", "3"])
