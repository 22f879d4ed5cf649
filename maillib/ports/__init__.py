"""The store boundary: Directory, Index, Blobs, Queue and Leases as typed protocols, and their value objects.

Rules for every port: values in, values out. No cursor, transaction, path or connection crosses. Every mutation is
idempotent by key or by state. Nothing spans two accounts. Errors are `NotFound`, `Conflict`, `OverQuota` and
`Transient` (with `StoreFull` and `StoreUnusable`) of `maillib.errors`, nothing else. Engines: `maillib.embedded` and
`maillib.memory`; one contract suite (`tests/integration/test_store_contract.py`) holds both to what is said here.
"""
