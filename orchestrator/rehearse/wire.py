"""A client's end of a protocol of lines: what is said, what comes back."""

import socket
import ssl

from orchestrator.rehearse.report import Unexpected

_LONGEST_LINE = 65_536
_SHOWN_CHARACTERS = 200


class Wire:
    """One connection. Every call raises OSError; those that read, Unexpected when the other side has closed."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._file = sock.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self._sock.close()

    def start_tls(self, context: ssl.SSLContext, hostname: str) -> bytes:
        """The certificate that was shown (DER)."""
        self._file.close()
        secured = context.wrap_socket(self._sock, server_hostname=hostname)
        self._sock, self._file = secured, secured.makefile("rb")
        return secured.getpeercert(binary_form=True) or b""

    def say(self, line: str) -> None:
        self.send(f"{line}\r\n".encode())

    def send(self, octets: bytes) -> None:
        self._sock.sendall(octets)

    def hear(self) -> bytes:
        """The next line, with its end."""
        line = self._file.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise Unexpected("an answer", f"{shown(line)}, and the end of the connection" if line else "its end")
        return line

    def take(self, octets: int) -> bytes:
        """Exactly so many, whatever is in them."""
        taken = self._file.read(octets)
        if len(taken) < octets:
            raise Unexpected(f"{octets} octets", f"{len(taken)}, and the end of the connection")
        return taken

    def ended(self) -> bool:
        """Wait for the other side to close: whether it does."""
        return not self._file.readline(_LONGEST_LINE)


def shown(octets: bytes) -> str:
    """For people: one line of a peer."""
    text = octets.decode(errors="replace").rstrip("\r\n")[:_SHOWN_CHARACTERS]
    return "".join(character if character.isprintable() else "?" for character in text)


def stuffed(octets: bytes) -> bytes:
    """As DATA and RETR send it, with the last line. RFC 5321 §4.5.2, RFC 1939 §3."""
    return (b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
