"""The store boundary as typed protocols, with their value objects: Directory, Penalties, Queue, Blobs, Index, Hints,
Leases.

Rules for every port: values in, values out. No cursor, transaction, path or connection crosses. Every mutation is
idempotent by key or by state. Nothing spans two accounts. Errors are those of `maillib.errors`, nothing else: of kind
`TemporaryError` (`OverQuota`, `Transient`, `StoreFull`, `StoreUnusable`), `PermanentError` (`NotFound`) or `Conflict`,
and for a log-in `AuthenticationFailed`. Engines: `maillib.embedded` and `maillib.memory`; the contract suites
(`tests/integration/test_*_contract.py`) hold both to what is said here.
"""
