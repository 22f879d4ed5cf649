"""What is written as YAML is read back as it was: by our reader, and by a stranger's of YAML 1.1."""

import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import yamltext
from orchestrator.yamlwrite import Written, flow, text

TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\ufeff\ufffe\uffff"), max_size=30)
LIKE_OTHER_THINGS = st.sampled_from(
    [
        "",
        "~",
        "null",
        "Yes",
        "y",
        "off",
        "1",
        "1e3",
        "0x1f",
        "010",
        "1_0",
        "1:20",
        "2001-01-01",
        ".inf",
        "<<",
        "=",
        "a: b",
    ]
) | st.from_regex(r"[-+]?[0-9_:.eExo]{1,6}|[-?:,\[\]{}#&*!|>'\"%@`]{1,3}", fullmatch=True)
VALUES: st.SearchStrategy[Written] = st.recursive(
    TEXTS | LIKE_OTHER_THINGS | st.booleans() | st.integers(0, 10**15),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(TEXTS | LIKE_OTHER_THINGS, below, max_size=3),
    max_leaves=6,
)


@given(value=VALUES)
def test_read_back(value: Written) -> None:
    """Any value, at the end of a line in a block."""
    written = f"a:\n  - {flow(value)}\n"
    document = yamltext.parse(written.encode(), file="x.yaml")
    assert (document.problems, document.value) == ((), {"a": [value]})
    assert yaml.safe_load(written) == {"a": [value]}


@given(key=TEXTS | LIKE_OTHER_THINGS)
def test_keys(key: str) -> None:
    """Any text, as a key of a block."""
    written = f"{text(key)}:\n  b: 1\n"
    assert yamltext.parse(written.encode(), file="x.yaml").value == {key: {"b": 1}}
