"""How much an SMTP session may ask for without sending mail: errors, and commands that lead to nothing.

Many errors are made by guessing (recipients, passwords), seldom by a person: replies come later and later, then there
are no more.
"""

from maillib import maillog
from maillib.protocols.smtp import Reply
from maillib.settings.smtp import SmtpSettings

LONGEST_DELAY_S = 5.0
"""Of a reply to a session that makes many errors: a dozen wrong passwords are still told within a minute."""

IDLE_COMMANDS = frozenset(("EHLO", "HELO", "RSET", "NOOP", "VRFY", "HELP"))
"""Always answered, and worth nothing to who has mail to send."""


class Patience:
    """One for each session."""

    __slots__ = ("_delay_step_s", "_errors", "_hostname", "_idle_commands", "_settings")

    def __init__(self, settings: SmtpSettings, hostname: str, delay_step_s: float) -> None:
        self._settings = settings
        self._hostname = hostname
        self._delay_step_s = delay_step_s
        self._errors = 0
        self._idle_commands = 0

    @property
    def delay_s(self) -> float:
        """How long the next reply is to be held back."""
        too_many = self._errors - self._settings.max_errors // 2
        return min(too_many * self._delay_step_s, LONGEST_DELAY_S) if too_many > 0 else 0.0

    def note_idle(self) -> None:
        """A command that sends no mail."""
        self._idle_commands += 1

    def note_mail(self) -> None:
        """A message was accepted: all is forgiven."""
        self._errors = self._idle_commands = 0

    def judge(self, reply: Reply) -> Reply:
        """`reply`, or the last one of a session that has made too many errors or has come to no end of idle commands.

        Only refusals count: who asks for more than we take at a time (452) may go on asking.
        """
        if reply.is_refusal:
            self._errors += 1
            if self._errors >= self._settings.max_errors:
                return Reply(421, "4.7.0", f"{self._hostname} too many errors")
        if self._idle_commands > self._settings.max_idle_commands:
            maillog.bad_command(command="unknown", reply="too many commands that send no mail")
            return Reply(421, "4.7.0", f"{self._hostname} too many commands that send no mail")
        return reply
