"""The reader of what servers say takes the RFC's examples and refuses what clients stumble over."""

import pytest

from tests.support.imap_grammar import Answer, NotImap, answers

GOOD = [
    b"* 12 FETCH (BODY[HEADER] {7}\r\nDate:\r\n UID 5)\r\na OK [READ-WRITE] done\r\n",
    b'* LIST (\\Noselect) "/" ~/Mail/foo ("CHILDINFO" ("SUBSCRIBED"))\r\na OK x\r\n',
    b'* ESEARCH (TAG "a") UID COUNT 5 ALL 4:19,21,28\r\na OK x\r\n',
    b"+ idling\r\na OK x\r\n",
    b'* 1 FETCH (ENVELOPE ("x" NIL (("T" NIL "g" "c.com")) NIL NIL NIL NIL NIL NIL "<a@b>"))\r\na OK x\r\n',
    b'* 1 FETCH (BODY ("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 3028 92))\r\na OK x\r\n',
    b'* 1 FETCH (BODYSTRUCTURE (("TEXT" "PLAIN" NIL NIL NIL "7BIT" 2 1 NIL NIL NIL NIL) "MIXED" NIL NIL NIL NIL))\r\n'
    b"a OK x\r\n",
]

BAD = [
    b"a OK x\n",
    b"a OK\r\n",
    b"* 5 NONSENSE\r\n",
    b"* 1 FETCH ()\r\n",
    b"* 1 FETCH (UID 5 )\r\n",
    b'* 1 FETCH (BODY[] "\xc3\xa4")\r\n',
    b"* 1 FETCH (BODY[] {3}\r\nab)\r\n",
    b"* 1 FETCH (PREVIEW {1}\r\n\0)\r\n",
    b'* 1 FETCH (INTERNALDATE "7-Feb-1994 21:52:25 -0800")\r\n',
    b'* 1 FETCH (ENVELOPE ("x" NIL NIL NIL NIL NIL NIL NIL NIL))\r\n',
    b'* 1 FETCH (ENVELOPE ("x" NIL () NIL NIL NIL NIL NIL NIL NIL))\r\n',
    b'* 1 FETCH (BODY ("TEXT" "PLAIN" NIL NIL NIL "7BIT" 3028))\r\n',
    b'* 1 FETCH (BODY ("IMAGE" "PNG" () NIL NIL "7BIT" 3028))\r\n',
    b'* LIST () "/" a b\r\n',
    b"* VANISHED \r\n",
    b"* SEARCH \r\n",
]


@pytest.mark.parametrize("said", GOOD)
def test_good(said: bytes) -> None:
    """Examples of RFC 9051 §7 and RFC 5258 are read to their end."""
    assert answers(said) == [Answer("a", "OK")]


@pytest.mark.parametrize("said", BAD)
def test_bad(said: bytes) -> None:
    """What is not in the grammar is refused."""
    with pytest.raises(NotImap):
        answers(said)
