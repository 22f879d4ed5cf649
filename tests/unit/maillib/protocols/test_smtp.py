"""SMTP's grammar where dialogs do not reach: rendering, and that nothing but a reply comes of bad input."""

from hypothesis import given
from hypothesis import strategies as st

from maillib.address import Address
from maillib.protocols import smtp

TEXT = st.text(st.sampled_from('<>@:"\\ =.,[]()aFROMTO%!\r\n\0ü²'), max_size=40)


def test_reply_of_several_lines() -> None:
    """Each line bears code and status, the last one a space. RFC 5321 §4.2.1, RFC 2034 §4."""
    assert bytes(smtp.Reply(550, "5.7.1", "one\ntwo")) == b"550-5.7.1 one\r\n550 5.7.1 two\r\n"


def test_command_at_the_limit() -> None:
    """A line of exactly the most octets is a command, one more is none."""
    line = b"NOOP " + b"x" * (smtp.MAX_COMMAND_OCTETS - 5)
    assert smtp.split_command(line)[0] == "NOOP"
    try:
        smtp.split_command(line + b"x")
    except smtp.Refused as refused:
        assert refused.reply.code == 500
    else:
        raise AssertionError("taken")


def test_verbs_beyond_ascii_are_none() -> None:
    """A letter that becomes ASCII in upper case does not make a command."""
    assert smtp.split_command("RſET".encode())[0] == ""


@given(TEXT, st.booleans())
def test_only_refusals_come_of_bad_mail(text: str, extended: bool) -> None:
    """Whatever MAIL's argument is, the outcome is a sender or a reply."""
    try:
        mail = smtp.mail(f"FROM:{text}", extended=extended)
    except smtp.Refused as refused:
        assert refused.reply.code in (501, 553, 555)
    else:
        assert mail.sender is None or Address.parse(str(mail.sender)) == mail.sender


@given(st.binary(max_size=60))
def test_only_refusals_come_of_bad_lines(line: bytes) -> None:
    """Whatever a line is, the outcome is a verb or a reply."""
    try:
        verb, argument = smtp.split_command(line)
    except smtp.Refused as refused:
        assert refused.reply.code == 500
    else:
        assert verb.isascii() and "\n" not in argument
