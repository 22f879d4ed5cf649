"""Lines of FETCH, made of rows and of what is derived from messages: a line a message, without a look anywhere.

Thousands of lines are made column by column. Leaves to others: what is read for them, and when (`imap_fetch`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter, itemgetter

from maillib.message.sections import of_header
from maillib.ports.derived import Shown, Values
from maillib.ports.index import Row, Uid
from maillib.protocols.imap import replies
from maillib.protocols.imap.fetch_items import BodySection, FetchItem, Item, Preview
from maillib.sessions.imap_content import Content, Opened, literal

ROW_ITEMS: Mapping[FetchItem, tuple[bytes, Callable[[Row], object]]] = {
    Item.UID: (b"UID %d", attrgetter("uid")),
    Item.FLAGS: (b"FLAGS %b", lambda row: replies.flags(row.flags)),
    Item.INTERNALDATE: (b"INTERNALDATE %b", lambda row: replies.internal_date(row.internal_date_s)),
    Item.SIZE: (b"RFC822.SIZE %d", attrgetter("size_octets")),
    Item.MODSEQ: (b"MODSEQ (%d)", attrgetter("modseq")),
}
"""What a row answers: format and value."""

VIEW_ITEMS: Mapping[FetchItem, tuple[bytes, Shown]] = {
    Item.ENVELOPE: (b"ENVELOPE %b", Shown.ENVELOPE),
    Item.BODY: (b"BODY %b", Shown.BODY),
    Item.BODYSTRUCTURE: (b"BODYSTRUCTURE %b", Shown.BODYSTRUCTURE),
    Preview(lazy=False): (b"PREVIEW %b", Shown.PREVIEW),
    Preview(lazy=True): (b"PREVIEW %b", Shown.PREVIEW),
}
"""What is derived from messages beforehand, or when it is asked for first: format and value."""


class Lines:
    """Of one FETCH."""

    def __init__(self, items: Sequence[FetchItem], shown: Sequence[Shown]) -> None:
        """`shown`: what the views hold, in their order."""
        self._items = items
        self._shown = shown

    def of_rows(self, found: Iterable[tuple[int, Row]]) -> list[bytes]:
        """Where rows answer everything."""
        flags = replies.flags
        if self._items == [Item.UID, Item.FLAGS]:  # what clients ask for most
            return [b"* %d FETCH (UID %d FLAGS %b)\r\n" % (number, row.uid, flags(row.flags)) for number, row in found]
        formats, values = zip(*(ROW_ITEMS[item] for item in self._items), strict=True)
        line = b"* %d FETCH (" + b" ".join(formats) + b")\r\n"
        return [line % (number, *[value(row) for value in values]) for number, row in found]

    def beginnings(self, rows: Sequence[tuple[int, Row]]) -> list[bytes]:
        """Of lines that `endings` ends: all that rows answer."""
        items = [item for item in self._items if item in ROW_ITEMS]
        line = b"* %d FETCH (" + b" ".join([ROW_ITEMS[item][0] for item in items])
        columns = [map(ROW_ITEMS[item][1], [row for _, row in rows]) for item in items]
        return [line % values for values in zip([number for number, _ in rows], *columns, strict=True)]

    def endings(self, beginnings: Sequence[bytes], views: Sequence[Values]) -> list[bytes]:
        """The lines, whole."""
        texts, columns = self._view_columns(views)
        end = b"%b " + b" ".join(texts) + b")\r\n"
        return [end % values for values in zip(beginnings, *columns, strict=True)]

    def of_views(
        self, numbers: Sequence[int], uids: Sequence[Uid], rows: Sequence[Row], views: Sequence[Values]
    ) -> list[bytes]:
        """`rows` may be empty where no item but UID is of them."""
        formats: list[bytes] = []
        columns: list[Iterable[object]] = []
        for item in self._items:
            if item is Item.UID:
                formats.append(b"UID %d")
                columns.append(uids)
            elif item in ROW_ITEMS:
                text, of_row = ROW_ITEMS[item]
                formats.append(text)
                columns.append(map(of_row, rows))
        texts, of_views = self._view_columns(views)
        line = b"* %d FETCH (" + b" ".join([*formats, *texts]) + b")\r\n"
        return [line % values for values in zip(numbers, *columns, *of_views, strict=True)]

    def item(self, item: FetchItem, uid: Uid, row: Row | None, message: Opened | None, view: Values | None) -> bytes:
        """One item of one message. Raises UnknownEncoding."""
        if item is Item.UID:
            return b"UID %d" % uid
        if isinstance(item, Content):  # first, as to look one of them up takes long
            if message is None:
                assert view is not None, "its header was read for it"
                message = Opened(view[-1])
            return message.item(item)
        if item in ROW_ITEMS:
            assert row is not None, "rows were read for it"
            return row_item(item, row)
        assert view is not None, "it was read for it"
        text, shown = VIEW_ITEMS[item]
        return text % view[self._shown.index(shown)]

    def _view_columns(self, views: Sequence[Values]) -> tuple[list[bytes], list[Iterable[bytes]]]:
        """Format and values of each item that is derived."""
        formats: list[bytes] = []
        columns: list[Iterable[bytes]] = []
        column: Iterable[bytes]
        for item in self._items:
            if item in ROW_ITEMS:
                continue
            if item in VIEW_ITEMS:
                text, shown = VIEW_ITEMS[item]
                column = map(itemgetter(self._shown.index(shown)), views)
            else:
                assert isinstance(item, BodySection), "other content is not in views"
                section, partial = item.section, item.partial
                text = item.name.replace(b"%", b"%%") + b" %b"
                column = [literal(of_header(view[-1], section, partial), binary=False) for view in views]
            formats.append(text)
            columns.append(column)
        return formats, columns


def row_item(item: FetchItem, row: Row) -> bytes:
    text, value = ROW_ITEMS[item]
    return text % value(row)
