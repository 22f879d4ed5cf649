"""Typed settings: the contract between services.yaml and the workers.

One class per protocol, plain frozen dataclasses. The orchestrator validates `services.yaml` with them (through
pydantic); a worker loads the resolved JSON with `load`, and needs no validator for that. The docstring below a field is
its documentation, in `docs/settings.md` and in the JSON Schema.
"""
