"""Declared accounts beside those that are there: `orchestrator.admin.clashes` finds what cannot be."""

from orchestrator.preflight.finding import Kind, Severity

ACCOUNTS = Kind(
    "accounts-clash",
    Severity.ERROR,
    "What accounts.yaml declares cannot be beside what was made by hand, or needs an account that is not there.",
    "`postroom account`, `alias` and `list` show and change what is there",
)
