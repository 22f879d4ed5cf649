"""IMAP sessions on the memory engine: log-in, mailboxes, the order of things."""

import asyncio
import base64

import pytest

from maillib.dialog import Next
from maillib.errors import PeerError
from maillib.settings.imap import ImapSettings
from tests.support.imap_world import LOGIN, PASSWORD, ImapWorld, run


def test_a_password_needs_tls() -> None:
    """Where clear text is not allowed no log-in is offered, none is served, and no password is asked for."""

    async def main() -> None:
        world = await ImapWorld(cleartext_login=False).furnish()
        client = world.client()
        greeting = await client.greeting()
        assert b"LOGINDISABLED" in greeting
        assert b"AUTH=" not in greeting
        assert (await client.refused(f"LOGIN {LOGIN} x")).startswith("NO [PRIVACYREQUIRED]")
        assert (await client.refused("AUTHENTICATE PLAIN")).startswith("NO [PRIVACYREQUIRED]")
        assert await client.ok("STARTTLS") == []
        assert client.last is Next.START_TLS
        client.session.tls_started()
        (line,) = await client.ok("CAPABILITY")
        assert "AUTH=PLAIN" in line
        assert "STARTTLS" not in line
        assert "LOGINDISABLED" not in line
        assert (await client.refused("STARTTLS")).startswith("BAD")
        await client.ok(f'LOGIN {LOGIN} "{PASSWORD}"')

    run(main)


def test_the_ways_to_log_in() -> None:
    """LOGIN, AUTHENTICATE with and without an initial response, and its mechanism LOGIN; wrong ones look alike."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        plain = base64.b64encode(f"\0{LOGIN}\0{PASSWORD}".encode()).decode()
        client = world.client()
        end = (await client.command(f"AUTHENTICATE PLAIN {plain}"))[1]
        assert end.startswith("OK [CAPABILITY IMAP4rev1")
        assert client.session.user == LOGIN
        client = world.client()
        assert await client.say(b"a AUTHENTICATE PLAIN\r\n") == b"+ \r\n"
        assert (await client.say(f"{plain}\r\n".encode())).startswith(b"a OK")
        client = world.client()
        assert await client.say(b"a AUTHENTICATE LOGIN\r\n") == b"+ VXNlcm5hbWU6\r\n"
        assert await client.say(base64.b64encode(LOGIN.encode()) + b"\r\n") == b"+ UGFzc3dvcmQ6\r\n"
        assert (await client.say(base64.b64encode(PASSWORD.encode()) + b"\r\n")).startswith(b"a OK")
        client = world.client()
        assert await client.say(b"a AUTHENTICATE PLAIN\r\n") == b"+ \r\n"
        assert (await client.say(b"*\r\n")).startswith(b"a BAD")
        wrong = await client.refused(f"LOGIN {LOGIN} wrong")
        assert wrong == await client.refused("LOGIN nobody@example.test wrong")
        assert wrong.startswith("NO [AUTHENTICATIONFAILED]")
        assert (await client.refused("SELECT INBOX")).startswith("BAD")
        await client.ok(f'LOGIN {LOGIN} "{PASSWORD}"')
        assert (await client.refused(f"LOGIN {LOGIN} x")).startswith("BAD")

    run(main)


def test_too_many_mistakes_end_the_session() -> None:
    """Who never gets a command right is told BYE."""

    async def main() -> None:
        world = await ImapWorld(settings=ImapSettings(max_errors=3)).furnish()
        client = world.client()
        for _ in range(2):
            assert (await client.refused("NONSENSE")).startswith("BAD")
        with pytest.raises(PeerError):
            await client.say(b"a NONSENSE\r\n")
        assert b"* BYE" in client.take()

    run(main)


def test_mailboxes_come_and_go() -> None:
    """CREATE makes the levels above, RENAME takes those below along, DELETE leaves them; codes say what is wrong."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        client = await world.logged_in()
        await client.ok("CREATE a/b/c")
        assert (await client.refused("CREATE a/b")).startswith("NO [ALREADYEXISTS]")
        assert (await client.refused("CREATE inbox")).startswith("NO [ALREADYEXISTS]")
        assert (await client.refused("CREATE x//y")).startswith("NO [CANNOT]")
        await client.ok("RENAME a/b z")
        assert await client.ok('LIST "" z*') == [
            '* LIST (\\HasChildren) "/" z',
            '* LIST (\\HasNoChildren) "/" z/c',
        ]
        await client.ok("DELETE z")
        assert await client.ok('LIST "" "z%"') == ['* LIST (\\NonExistent \\NoSelect \\HasChildren) "/" z']
        assert (await client.refused("SELECT z")).startswith("NO [NONEXISTENT]")
        assert (await client.refused("DELETE z")).startswith("NO [NONEXISTENT]")
        assert (await client.refused("DELETE INBOX")).startswith("NO [CANNOT]")
        assert (await client.refused("RENAME nothing other")).startswith("NO [NONEXISTENT]")
        assert (await client.refused("RENAME z/c a")).startswith("NO [ALREADYEXISTS]")
        assert (await client.refused(f"RENAME z {'long/' * 199}1234")).startswith("NO [CANNOT]")
        assert await client.ok('LIST "" long*') == []
        await client.ok("RENAME z/c deep/er/c")
        assert [line.rpartition(" ")[2] for line in await client.ok('LIST "" deep*')] == [
            "deep",
            "deep/er",
            "deep/er/c",
        ]
        await client.ok("RENAME deep/er/c z/c")
        await client.ok("CREATE &AOQ-/")
        assert (await client.ok('LIST "" &AOQ-'))[0].endswith(' "/" &AOQ-')
        await client.ok("ENABLE UTF8=ACCEPT")
        assert (await client.ok('LIST "" "%"'))[-1].endswith(' "/" "ä"'.encode().decode("latin-1"))

    run(main)


def test_what_list_tells() -> None:
    """Selections, return options, status and special uses as RFC 5258, RFC 5819 and RFC 6154 have them."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        client = await world.logged_in()
        assert await client.ok('LIST "" ""') == ['* LIST (\\NoSelect) "/" ""']
        assert await client.ok('LIST "" (inbox Sent) RETURN (STATUS (MESSAGES))') == [
            '* LIST (\\HasNoChildren) "/" INBOX',
            "* STATUS INBOX (MESSAGES 0)",
            '* LIST (\\HasNoChildren \\Sent) "/" Sent',
            "* STATUS Sent (MESSAGES 0)",
        ]
        lines = await client.ok('LIST (SPECIAL-USE) "" *')
        assert [line.rpartition(" ")[2] for line in lines] == ["Archive", "Drafts", "Junk", "Sent", "Trash"]
        await client.ok("SUBSCRIBE x/y")
        await client.ok("SUBSCRIBE INBOX")
        assert await client.ok('LIST (SUBSCRIBED) "" (INBOX x*)') == [
            '* LIST (\\HasNoChildren \\Subscribed) "/" INBOX',
            '* LIST (\\NonExistent \\NoSelect \\HasNoChildren \\Subscribed) "/" x/y',
        ]
        assert await client.ok('LIST (SUBSCRIBED RECURSIVEMATCH) "" x') == [
            '* LIST (\\NonExistent \\NoSelect \\HasNoChildren) "/" x ("CHILDINFO" ("SUBSCRIBED"))'
        ]
        assert (await client.refused('LIST (RECURSIVEMATCH) "" *')).startswith("BAD")
        assert await client.ok('LSUB "" x%') == ['* LSUB (\\NoSelect) "/" x']
        assert await client.ok("LSUB x/ *") == ['* LSUB (\\NonExistent \\NoSelect \\HasNoChildren) "/" x/y']
        await client.ok("UNSUBSCRIBE x/y")
        await client.ok("DELETE Sent")
        await client.ok("CREATE Out (USE (\\sent))")
        assert await client.ok('LIST "" Out') == ['* LIST (\\HasNoChildren \\Sent) "/" Out']
        assert (await client.refused("CREATE Two (USE (\\Sent))")).startswith("NO [USEATTR]")
        assert (await client.refused("CREATE Two (USE (\\All))")).startswith("NO [USEATTR]")

    run(main)


def test_status_and_quota() -> None:
    """STATUS counts without selecting, and quotas are told as they are now."""

    async def main() -> None:
        world = await ImapWorld(quota_octets=10_240).furnish()
        await world.deliver(b"x" * 2000, b"y" * 100)
        client = await world.logged_in("INBOX")
        await client.ok("STORE 1 +FLAGS.SILENT (\\Deleted \\Seen)")
        await client.ok("UNSELECT")
        items = "MESSAGES RECENT UIDNEXT UNSEEN DELETED DELETED-STORAGE SIZE APPENDLIMIT"
        assert await client.ok(f"STATUS inbox ({items})") == [
            "* STATUS INBOX (MESSAGES 2 RECENT 0 UIDNEXT 3 UNSEEN 1 DELETED 1 DELETED-STORAGE 2000 SIZE 2100"
            " APPENDLIMIT 52428800)"
        ]
        assert (await client.refused("STATUS nothing (MESSAGES)")).startswith("NO [NONEXISTENT]")
        assert (await client.refused("STATUS INBOX (MAILBOXID)")).startswith("BAD")
        assert await client.ok("GETQUOTAROOT INBOX") == ['* QUOTAROOT INBOX ""', '* QUOTA "" (STORAGE 3 10)']
        assert (await client.append("INBOX", b"z" * 9000)).startswith("NO [OVERQUOTA]")
        assert (await client.say(b"a APPEND INBOX {900000}\r\n")).startswith(b"a NO [OVERQUOTA]")
        await world.allow(None)
        assert await client.ok('GETQUOTA ""') == ['* QUOTA "" ()']
        assert (await client.refused("GETQUOTA other")).startswith("NO [NONEXISTENT]")
        assert (await client.refused('SETQUOTA "" (STORAGE 5)')).startswith("NO [NOPERM]")
        assert (await client.append("INBOX", b"z" * 9000)).startswith("OK")

    run(main)


def test_idle_tells_at_once_what_others_do() -> None:
    """A client in IDLE hears of deliveries, flags and expunges as they come, and of nothing when it is not in IDLE."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(b"a", b"b")
        idle, other = await world.logged_in("INBOX"), await world.logged_in("INBOX")
        assert await idle.say(b"i IDLE\r\n") == b"+ idling\r\n"
        assert idle.session.doing == "IDLE"
        await world.deliver(b"c")
        assert await idle.news() == ["* 3 EXISTS"]
        await other.ok("STORE 1 +FLAGS \\Flagged")
        assert await idle.news() == ["* 1 FETCH (UID 1 FLAGS (\\Flagged))"]
        await other.ok("STORE 1 +FLAGS.SILENT \\Deleted")
        assert await idle.news() == ["* 1 FETCH (UID 1 FLAGS (\\Deleted \\Flagged))"]
        await other.ok("EXPUNGE")
        assert await idle.news() == ["* 1 EXPUNGE"]
        assert (await idle.say(b"DONE\r\n")) == b"i OK that was IDLE\r\n"
        await world.deliver(b"d")
        await asyncio.sleep(0)
        assert not idle.woken.is_set()
        assert await idle.ok("NOOP") == ["* 3 EXISTS"]
        await idle.say(b"i IDLE\r\n")
        assert (await idle.say(b"NONSENSE\r\n")).startswith(b"i BAD")
        for client in (idle, other):
            await client.session.closed()
        await world.shared.close()

    run(main)


def test_goodbye_comes_between_commands() -> None:
    """It is BYE, also in IDLE; not in the middle of a message that comes in."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        client = await world.logged_in()
        assert (client.session.goodbye() or b"").startswith(b"* BYE")
        assert (await client.say(b"a APPEND INBOX {10}\r\n")) == b"+ OK\r\n"
        assert client.session.goodbye() is None
        await client.say(b"0123456789\r\n")
        await client.say(b"i IDLE\r\n")
        assert (client.session.goodbye() or b"").startswith(b"* BYE")
        assert client.session.timed_out().startswith(b"* BYE")

    run(main)


def test_commands_of_one_flight_are_answered_in_order() -> None:
    """Pipelined commands are served one after the other, news before each end."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        client = await world.logged_in()
        answer = await client.say(b"a SELECT INBOX\r\nb APPEND INBOX {1+}\r\nx\r\nc FETCH 1 (UID)\r\nd LOGOUT\r\n")
        lines = [line for line in answer.decode().split("\r\n") if not line.startswith("* OK")]
        assert lines[-7:] == [
            "* 1 EXISTS",
            next(line for line in lines if line.startswith("b OK [APPENDUID ")),
            "* 1 FETCH (UID 1)",
            "c OK fetched",
            "* BYE until next time",
            "d OK logged out",
            "",
        ]
        assert client.last is Next.CLOSE

    run(main)


def test_an_unknown_command_of_an_extension_is_unknown() -> None:
    """What is not announced is answered BAD: identifiers of messages, dates of saving."""

    async def main() -> None:
        world = await ImapWorld().furnish()
        await world.deliver(b"a")
        client = await world.logged_in("INBOX")
        for command in ("FETCH 1 (EMAILID)", "SEARCH EMAILID x", "FETCH 1 (SAVEDATE)", "STATUS INBOX (MAILBOXID)"):
            assert (await client.refused(command)).startswith("BAD"), command

    run(main)
