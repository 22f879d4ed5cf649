"""Text of HTML without its tags: enough to search in and to show a line of, not a browser.

Guarantees: linear, whatever the tags. Scripts, styles, titles and comments are no text; blocks, rows and cells are
apart from one another; space is as a browser shows it, one for any.
"""

import html
import re

_HIDDEN = re.compile(r"<(?=[!stST])(?:(!--)|(script|style|title|template)(?=[\s/>]))", re.IGNORECASE)
_APART = re.compile(
    r"</?(?=[a-zA-Z])(?:address|article|blockquote|br|center|dd|div|dl|dt|footer|form|h[1-6]|header|hr|img|li|ol|option|p|pre|section"
    r"|table|tbody|td|tfoot|th|thead|tr|ul)(?:[\s/][^<>]*+)?>",
    re.IGNORECASE,
)
_TAG = re.compile(r"<[a-zA-Z/!?][^<>]*+>")
_NO_CHARACTER = re.compile(r"&#(?:[0-9]{8}|[xX][0-9a-fA-F]{8})[0-9a-fA-F]*+;?")
"""References to what is far beyond Unicode: Python refuses to read some of them."""
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
"""Of ASCII alone: the text stays as long as it was."""


def without_tags(source: str) -> str:
    """The text of an HTML document."""
    text = _NO_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", _TAG.sub("", _APART.sub(" ", _without_hidden(source))))
    return " ".join(html.unescape(text).split())


def _without_hidden(source: str) -> str:
    kept: list[str] = []
    lowered = ""
    position = 0
    while hidden := _HIDDEN.search(source, position):
        kept.append(source[position : hidden.start()])
        if hidden[1]:
            end = source.find("-->", hidden.end())
            position = end + 3
        else:
            lowered = lowered or source.translate(_LOWER)
            end = lowered.find(f"</{hidden[2].lower()}", hidden.end())
            position = source.find(">", end) + 1
        if end < 0 or not position:
            return "".join(kept)  # what has no end hides the rest
        kept.append(" ")
    return "".join((*kept, source[position:]))
