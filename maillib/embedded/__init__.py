"""Engine one: everything in files of one machine, below one state directory.

`docs/store.md` and `docs/queue.md` say which files there are and what each combination of them means. Start with the
module named like the port: `directory`, `index` with `account_*`, `blobs`, `queue` with `queue_*`, `hints`, `leases`,
`penalties`. `sqlite`, `threads`, `files`, `bodies` and `blobs` (references to paths) are shared by all of them.
"""
