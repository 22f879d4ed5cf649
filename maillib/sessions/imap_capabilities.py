"""What is announced, and what a client can enable. RFC 9051 §6.1.1, RFC 5161.

Everything in these lists works; what is not here is answered as an unknown command.
"""

from collections.abc import Iterable

from maillib.dialog import Output
from maillib.protocols import sasl
from maillib.protocols.imap import replies
from maillib.sessions.imap_client import Client, Done
from maillib.settings.imap import ImapSettings

_ALWAYS = ("IMAP4rev1", "IMAP4rev2", "LITERAL+", "ENABLE", "ID", "IDLE", "SASL-IR")

_AFTER_LOGIN = (
    "NAMESPACE", "UNSELECT", "UIDPLUS", "MOVE", "CHILDREN", "LIST-EXTENDED", "LIST-STATUS", "SPECIAL-USE",
    "CREATE-SPECIAL-USE", "CONDSTORE", "QRESYNC", "ESEARCH", "SEARCHRES", "WITHIN", "STATUS=SIZE", "QUOTA",
    "QUOTA=RES-STORAGE", "MULTIAPPEND", "UTF8=ACCEPT", "BINARY", "PREVIEW",
    "SORT", "SORT=DISPLAY", "THREAD=ORDEREDSUBJECT", "THREAD=REFERENCES",
)  # fmt: skip


def before_login(*, may_log_in: bool, may_start_tls: bool) -> list[str]:
    words = list(_ALWAYS)
    if may_start_tls:
        words.append("STARTTLS")
    if may_log_in:
        words += [f"AUTH={mechanism}" for mechanism in sasl.MECHANISMS]
    else:
        words.append("LOGINDISABLED")
    return words


def after_login(settings: ImapSettings, *, may_compress: bool) -> list[str]:
    words = [*_ALWAYS, *_AFTER_LOGIN, f"APPENDLIMIT={settings.max_message_size}"]
    return [*words, "COMPRESS=DEFLATE"] if may_compress else words


async def enable(client: Client, names: Iterable[str], output: Output) -> Done:
    """Names that mean nothing here are no mistake. RFC 5161 §3.1."""
    done = []
    for name in dict.fromkeys(names):
        match name:
            case "CONDSTORE":
                client.condstore = True
            case "QRESYNC":  # RFC 7162 §3.2.3
                client.condstore = client.qresync = True
            case "UTF8=ACCEPT":
                client.utf8 = True
            case "IMAP4REV2":
                client.utf8 = client.rev2 = True
            case _:
                continue
        done.append("IMAP4rev2" if name == "IMAP4REV2" else name)
    if client.utf8:
        client.core.use_utf8_names()
    await output.send(replies.enabled(done))
    return Done("enabled")
