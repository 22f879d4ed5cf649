"""A short round: `make bench`. Figures worth keeping come from the single scripts, with more rounds; `queue_depth` and
`floods`, which take longer, are run by themselves.
"""

from benchmarks import (
    deliver,
    fan_out,
    idle_connections,
    idle_memory,
    imap_mailbox,
    imap_push,
    pop_session,
    report,
    smtp_accept,
)

if __name__ == "__main__":
    print(report.machine())
    idle_memory.main([])
    idle_connections.main([])
    smtp_accept.main(["--messages", "500", "--rounds", "2"])
    deliver.main(["--messages", "400", "--rounds", "2", "--recipients", "1", "200"])
    fan_out.main(["--rounds", "1"])
    pop_session.main(["--messages", "2000", "--rounds", "2"])
    imap_mailbox.main(["--messages", "2000", "--rounds", "2"])
    imap_push.main(["--messages", "100"])
