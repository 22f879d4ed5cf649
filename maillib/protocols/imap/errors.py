"""What is wrong with what a client sent."""

from maillib.errors import PeerError


class Malformed(PeerError):
    """What was sent is not what the grammar allows. The text goes to the client: it quotes nothing of what was sent."""

    def __init__(self, reason: str, *, code: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        """A response code; what has one is answered NO, not BAD: the grammar is not what is wrong."""
