"""Which charsets are read: all that Python knows and a stranger's octets cannot make slow or strange."""

import codecs
from encodings import normalize_encoding
from encodings.aliases import aliases
from functools import lru_cache

_MAX_NAME = 64

_NO_CHARSETS = frozenset(
    {"idna", "mbcs", "oem", "palmos", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"}
    | {"base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec"}
)
"""Codecs that are no charset of mail; some take quadratic time."""

_WITHOUT_ALIAS = frozenset({"cp1006", "cp720", "cp737", "cp856", "cp874", "cp875", "koi8_t", "koi8_u", "utf_8_sig"})

_WRITTEN_SO = {
    "cp_850": "cp850",
    "iso_8859_8_i": "iso8859_8",
    "unicode_1_1_utf_7": "utf_7",
    "windows_874": "cp874",
    "windows_932": "cp932",
    "x_gbk": "gbk",
    "x_mac_roman": "mac_roman",
    "x_sjis": "shift_jis",
    "x_windows_949": "cp949",
}
"""Names that mail programs use and Python does not know."""

_WIDER = {"euc_kr": "cp949", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932"}
"""Whose names are used for text in the charset that has more letters."""

_KNOWN = (_WITHOUT_ALIAS | set(aliases) | set(aliases.values())) - _NO_CHARSETS


@lru_cache(maxsize=256)
def codec(name: str) -> codecs.CodecInfo | None:
    """None: there is no such charset. The name is in any case.

    Only names known beforehand are looked up: Python remembers for ever each name that it has been asked for.
    """
    if not name.isascii() or len(name) > _MAX_NAME:
        return None
    known = normalize_encoding(name).lower()
    known = _WRITTEN_SO.get(known, known)
    if known not in _KNOWN:
        return None
    canonical = aliases.get(known, known)
    if canonical in _NO_CHARSETS:
        return None
    try:
        return codecs.lookup(_WIDER.get(canonical, canonical))
    except LookupError:  # an alias of a codec that this Python does not have
        return None


def decode(octets: bytes, charset: str | None) -> str:
    """What a reader would see: octets that are wrong in `charset` are replaced.

    Without a known charset, and in what calls itself ASCII, the text is UTF-8 if it can be, else Windows-1252.
    """
    found = codec(charset) if charset else None
    if found is not None and found.name != "ascii":
        try:
            text = found.decode(octets, "replace")[0]
        except ValueError:  # of a codec that cannot replace
            return octets.decode("latin-1")
        if found.name == "utf-7":  # which lets halves of a character pass
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return text
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("cp1252", "replace")
