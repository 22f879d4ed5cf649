"""Look-alikes of the end of data, over a real socket: none of them makes two messages of one."""

import asyncio

import pytest

from tests.support.smtp_world import SmtpWorld

LINE_ENDS = ["\n", "\r", "\r\n"]
FORMS = [
    form
    for form in (
        [f"{before}{nul_before}.{nul_after}{after}" for before in LINE_ENDS for after in LINE_ENDS
         for nul_before, nul_after in [("", ""), ("\0", ""), ("", "\0")]]
        + ["\r\r.\r\r", "\n\n.\n\n"]
    )
    if "\r\n.\r\n" not in form
]  # fmt: skip

EVIL = b"MAIL FROM:<evil@evil.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nevil\r\n.\r\nQUIT\r\n"


def test_there_are_28_forms() -> None:
    """None of the forms that are known was forgotten."""
    assert len(set(FORMS)) == 28


@pytest.mark.parametrize("form", FORMS, ids=repr)
@pytest.mark.parametrize("step", [None, 1], ids=["whole", "octets"])
def test_look_alike(form: str, step: int | None) -> None:
    """What looks like an end to others is part of the message, which is refused when it holds a lone CR or LF."""

    async def main() -> None:
        world = SmtpWorld()
        async with asyncio.timeout(30), world.serve() as live:
            reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
            writer.write(b"HELO me\r\nMAIL FROM:<carol@elsewhere.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n")
            await reader.readuntil(b"354 End data with <CR><LF>.<CR><LF>\r\n")
            data = b"Subject: x\r\n\r\ntext" + form.encode() + EVIL
            for start in range(0, len(data), step or len(data)):
                writer.write(data[start : start + (step or len(data))])
                await asyncio.sleep(0)
            reply, goodbye = (await reader.read()).splitlines()
            assert goodbye.startswith(b"221")
            bare = form.replace("\r\n", "")
            if "\r" in bare or "\n" in bare:
                assert reply.startswith(b"550 5.6.0")
                assert world.queue.messages == []
            else:
                assert reply.startswith(b"250")
                (message,) = world.queue.messages
                assert message.body.endswith(data.removesuffix(b".\r\nQUIT\r\n").replace(b"\r\n.", b"\r\n"))
            writer.close()
            await writer.wait_closed()
        assert all(str(message.envelope.sender) == "carol@elsewhere.test" for message in world.queue.messages)

    asyncio.run(main())
