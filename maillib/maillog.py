"""Every log event of the mail services, one function each. This file is the list; `docs/log-events.md` is made from it.

One line an event: `ts level worker event key=value …`. `queue_id` goes with everything about a message, `conn` with
everything about a connection (bound once per connection by `bind_connection`). Bodies and passwords never. Values with
spaces, quotes or controls are quoted as JSON strings, so that a line is always one line.

Processes of one service append to one file; each line is one `write` to a descriptor opened with O_APPEND. Who rotates
it (the master) renames the file and has the others `reopen`.
"""

import json
import os
import sys
import time
import traceback
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path

_connection: ContextVar[str] = ContextVar("connection", default="")


class _Sink:
    """Where lines go: standard error until `open` names a file."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.worker = "-"
        self.fd = 2

    def open(self, path: Path, worker: str) -> None:
        self.worker = worker
        self.path = path
        self.reopen()

    def reopen(self) -> None:
        if self.path is None:
            return
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        if self.fd > 2:
            os.close(self.fd)
        self.fd = fd

    def write(self, line: str) -> None:
        try:
            os.write(self.fd, line.encode("utf-8", "backslashreplace"))
        except OSError:
            if self.fd != 2:  # a full disk must not end a mail session; supervisord keeps what stderr says
                print(line, end="", file=sys.stderr)


_sink = _Sink()
_plain = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.:@<>[]/+-_,;*!#$%&'?^`{|}~")


def open_log(path: Path, worker: str) -> None:
    """Append to `path` from now on; `worker` names this process in each line (`smtp`, `pop/master`)."""
    _sink.open(path, worker)


def reopen() -> None:
    """Open the file anew by its name, after a rotation."""
    _sink.reopen()


def bind_connection(conn: str) -> None:
    """From here on, in this task and those it starts, each event carries `conn`."""
    _connection.set(conn)


def _value(value: object) -> str:
    text = str(value)
    return text if text and _plain.issuperset(text) else json.dumps(text, ensure_ascii=True)


def _emit(level: str, event: str, **fields: object) -> None:
    now = time.time()
    second = int(now)
    line = f"{_second(second)}.{int((now - second) * 1000):03d}Z {level} {_sink.worker} {event}"
    if conn := _connection.get():
        line += f" conn={conn}"
    for name, value in fields.items():
        if value is not None:
            line += f" {name}={_value(value)}"
    _sink.write(line + "\n")


@lru_cache(maxsize=1)
def _second(unix_s: int) -> str:
    """Many events fall into one second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix_s))


# Programs


def started(*, pid: int, generation: int, version: str) -> None:
    """A master or worker process begins."""
    _emit("info", "started", pid=pid, generation=generation, version=version)


def ready(*, pid: int) -> None:
    """A worker serves."""
    _emit("info", "ready", pid=pid)


def retuned(*, pid: int, generation: int) -> None:
    """A worker goes on with new settings or listeners; open sessions keep the settings they began with."""
    _emit("info", "retuned", pid=pid, generation=generation)


def draining(*, pid: int, sessions: int, limit_s: float, reason: str) -> None:
    """No new sessions from here on; the running ones have `limit_s`."""
    _emit("info", "draining", pid=pid, sessions=sessions, limit_s=limit_s, reason=reason)


def stopped(*, pid: int, finished: int, cut: int) -> None:
    """A worker ends: so many sessions of its drain ended by themselves, so many were told goodbye or cut."""
    _emit("info", "stopped", pid=pid, finished=finished, cut=cut)


def worker_died(*, pid: int, status: str, pause_s: float) -> None:
    """A worker ended without being asked to; another one starts after the pause."""
    _emit("error", "worker-died", pid=pid, status=status, pause_s=pause_s)


def listener_open(*, address: str) -> None:
    """The master listens there."""
    _emit("info", "listener-open", address=address)


def master_gone(*, pid: int) -> None:
    """This worker's master has died; it goes on and waits for a successor."""
    _emit("error", "master-gone", pid=pid)


def problem(*, what: str, error: str) -> None:
    """Something of ours did not work; what it means for the service is in `what`."""
    _emit("error", "problem", what=what, error=error)


def bug(*, what: str, error: BaseException) -> None:
    """An exception nobody expected, with its trace. One connection or one attempt ends, the process lives."""
    trace = "".join(traceback.format_exception(error))
    _emit("error", "bug", what=what, error=repr(error), trace=trace)


def hold_made(*, service: str, who: str) -> None:
    """A service was stopped by hand; it stays stopped until somebody starts or releases it."""
    _emit("info", "hold-made", service=service, who=who)


def hold_ended(*, service: str) -> None:
    """A service that was held has been started."""
    _emit("info", "hold-ended", service=service)


# Connections


def connected(*, peer: str, listener: str, tls: bool, via: str | None = None) -> None:
    """A client is there; `via`: the balancer that says so by the PROXY protocol."""
    _emit("info", "connected", peer=peer, listener=listener, tls=tls, via=via)


def refused(*, peer: str, reason: str, times: int | None = None) -> None:
    """A client was sent away because of a limit; `reason` says which; `times`: so often again within ten seconds."""
    _emit("warning", "refused", peer=peer, reason=reason, times=times)


def proxy_failed(*, peer: str, error: str) -> None:
    """A connection from a balancer did not begin with the PROXY header that it has to begin with; it is closed."""
    _emit("warning", "proxy-failed", peer=peer, error=error)


def disconnected(*, reason: str, duration_s: float, user: str | None = None) -> None:
    """Session ended: `quit` `lost` `timeout` `goodbye` `errors` `tls` `taken-over` `aborted`; ours: `failed` `bug`."""
    _emit("info", "disconnected", reason=reason, duration_s=f"{duration_s:.3f}", user=user)


def tls_started(*, version: str, cipher: str) -> None:
    """A handshake is done."""
    _emit("info", "tls-started", version=version, cipher=cipher)


def tls_failed(*, peer: str, error: str) -> None:
    """A handshake failed; the connection is closed."""
    _emit("info", "tls-failed", peer=peer, error=error)


def login(*, user: str, mechanism: str) -> None:
    """Somebody proved who they are."""
    _emit("info", "login", user=user, mechanism=mechanism)


def login_failed(*, user: str, mechanism: str, peer: str) -> None:
    """Unknown user or wrong password, from the address `peer`; which of them is told to nobody."""
    _emit("warning", "login-failed", user=user, mechanism=mechanism, peer=peer)


def login_slowed(*, user: str, peer: str, wait_s: float) -> None:
    """A log-in had to wait because others from its address, or with its name, have failed."""
    _emit("warning", "login-slowed", user=user, peer=peer, wait_s=f"{wait_s:.3f}")


def password_not_rehashed(*, user: str, error: str) -> None:
    """Somebody logged in whose password should be hashed anew, and the directory could not be written; later, then."""
    _emit("warning", "password-not-rehashed", user=user, error=error)


def maildrop_in_use(*, user: str) -> None:
    """Somebody logged in while another session has the same maildrop. RFC 1939 §4."""
    _emit("info", "maildrop-in-use", user=user)


def maildrop_taken_over(*, user: str) -> None:
    """A session has come back from a long silence; another one has had its maildrop meanwhile, so it is over."""
    _emit("info", "maildrop-taken-over", user=user)


def bad_command(*, command: str, reply: str) -> None:
    """The client broke the protocol; a `command` that we do not know is told as `unknown`: it may be a password."""
    _emit("info", "bad-command", command=command, reply=reply)


# Messages


def accepted(*, queue_id: str, sender: str, recipients: int, size_octets: int, user: str | None = None) -> None:
    """A message is ours now: durable, and its client has its 250."""
    _emit(
        "info", "accepted", queue_id=queue_id, sender=sender, recipients=recipients, size_octets=size_octets, user=user
    )


def rejected(*, sender: str, rcpt: str | None, reply: str) -> None:
    """A sender, recipient or message was refused in the dialogue."""
    _emit("info", "rejected", sender=sender, rcpt=rcpt, reply=reply)


def delivered(*, queue_id: str, rcpt: str, relay: str, delay_s: float, dsn: str) -> None:
    """The next hop has taken charge of this recipient. RFC 5321 §6.1.

    `relay=local`: it is in the mailbox; `relay=list`: it goes to the members of a list, as a message whose `queue_id`
    begins with this one's.
    """
    _emit("info", "delivered", queue_id=queue_id, rcpt=rcpt, relay=relay, delay_s=f"{delay_s:.3f}", dsn=dsn)


def deferred(*, queue_id: str, rcpt: str, reason: str, next_attempt: str) -> None:
    """This recipient is tried again later."""
    _emit("warning", "deferred", queue_id=queue_id, rcpt=rcpt, reason=reason, next_attempt=next_attempt)


def failed(*, queue_id: str, rcpt: str, reason: str) -> None:
    """This recipient will not get the message."""
    _emit("warning", "failed", queue_id=queue_id, rcpt=rcpt, reason=reason)


def bounced(*, queue_id: str, to: str, dsn_id: str) -> None:
    """A delivery status notification was queued under `dsn_id`. RFC 3464."""
    _emit("info", "bounced", queue_id=queue_id, to=to, dsn_id=dsn_id)


def removed(*, queue_id: str) -> None:
    """Nothing is left to do for the message: it is in the queue no longer."""
    _emit("info", "removed", queue_id=queue_id)


def set_aside(*, queue_id: str, reason: str) -> None:
    """A damaged spool file was moved where nobody trips over it."""
    _emit("error", "set-aside", queue_id=queue_id, reason=reason)


def orphan_removed(*, body: str) -> None:
    """A body that some process had put into the store a day ago, and then died, was removed: it is in no mailbox."""
    _emit("warning", "orphan-removed", body=body)


def retrieved(*, user: str, messages: int, octets: int) -> None:
    """A POP session sent that many messages."""
    _emit("info", "retrieved", user=user, messages=messages, octets=octets)


def expunged(*, user: str, messages: int) -> None:
    """A session removed that many messages for good."""
    _emit("info", "expunged", user=user, messages=messages)
