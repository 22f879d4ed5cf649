"""The one tree of errors this project raises on purpose.

The text of an error is for the log and for administrators, never for a peer: each session owns a table from class
to reply. Whoever catches `MailError` knows that the code did what it should; everything else is a bug.
"""


class MailError(Exception):
    """Raised on purpose by this project; the text is for the log, not the peer."""


class TemporaryError(MailError):
    """Try later: the spool keeps the recipient, SMTP says 4yz."""


class PermanentError(MailError):
    """Will never work as asked: DSN, SMTP says 5yz."""


class OverQuota(TemporaryError):
    """An account has no room for what was to be added."""

    def __init__(self, owner: str, *, used_octets: int, limit_octets: int) -> None:
        super().__init__(f"{owner} is over quota: {used_octets} of {limit_octets} octets used")
        self.owner = owner
        self.used_octets = used_octets
        self.limit_octets = limit_octets


class Transient(TemporaryError):
    """The engine could not; the same call again is safe."""


class StoreFull(TemporaryError):
    """No space (or no inode) is left where mail is written. SMTP says 452 4.3.1."""


class StoreUnusable(TemporaryError):
    """A file of the store is damaged or was written by a newer version; the text names it. Mail for it has to wait."""


class StoreDamaged(StoreUnusable):
    """A database is damaged or lost: somebody has to act."""


class NotFound(PermanentError):
    """No such domain, account, mailbox, message or queue entry."""


class MailLoop(PermanentError):
    """A message has come back to where it was before."""


class AddressError(PermanentError):
    """The text is no mail address that we accept; the message says why."""


class AuthenticationFailed(MailError):
    """User unknown, wrong password, disabled or not for this protocol: deliberately one error for all of them."""


class Conflict(MailError):
    """A precondition no longer holds: a lease is held, a name is taken, a claim was lost."""


class TooSoon(Conflict):
    """The same thing was done only just now; a while later it is in order."""


class TooOld(Conflict):
    """What was asked about is no longer remembered: read everything anew."""


class ConfigError(MailError):
    """A service's JSON file, or something it names, cannot be used as it is. Not worth a retry."""


class PeerError(MailError):
    """The other side broke the protocol; answered if possible, logged low."""


class LocalError(MailError):
    """We broke the protocol: a bug. One connection dies, the worker lives."""
