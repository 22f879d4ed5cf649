"""What is done with a suite that is rehearsed: talk to each service, stop and start them under open sessions, reload.

Guarantees: what goes wrong in a step is in the report, and the rest goes on as far as it can; errors that come out of
here are those of things that a rehearsal needs itself. Leaves to others: the copy (`scratch`), what is said
(`conversation`), and that everything is gone afterwards (`afterwards`).
"""

import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from maillib import control
from maillib.control import Verb
from maillib.errors import Transient
from maillib.settings.service import Listener, ServiceConfig
from orchestrator import certificates, generation, holds, operate, probe
from orchestrator.place import Place
from orchestrator.rehearse import smtp
from orchestrator.rehearse.conversation import Conversation, Guests, Lingering, Scene
from orchestrator.rehearse.imap import Imap
from orchestrator.rehearse.pop import Pop
from orchestrator.rehearse.report import SUITE, Report, Unexpected
from orchestrator.rehearse.smtp import Smtp
from orchestrator.rehearse.spool import Spool
from orchestrator.supervisor import Supervisor

CONVERSATIONS: Mapping[str, Conversation] = {"smtp": Smtp(), "spool": Spool(), "imap": Imap(), "pop": Pop()}
"""By protocol, in the order in which mail passes them."""

BY = "postroom rehearse"
READY_S = 60.0
"""How long a service may take to become ready."""
_STOP_S = 5.0
"""How long supervisord may take to stop services whose sessions go on without them."""
_SHORTEST_DRAIN_S = 10.0
"""A stop and a start take less, also on a busy machine."""
_ANSWER_S = 5.0
"""How long a master, or the system, may take to answer."""
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Stage:
    """A suite that runs, and what is rehearsed on it."""

    place: Place
    services: Mapping[str, ServiceConfig]
    """All that are enabled, each after those it depends on."""
    guests: Guests
    report: Report
    declared: Mapping[str, str] = field(default_factory=dict)
    """As in `Scene`."""

    def talk(self, names: Sequence[str], *, addresses: Sequence[str]) -> None:
        """Hold the conversation of each service; `addresses` have to be known to who takes mail."""
        scene = self._scene(addresses)
        for name in self._as_mail_goes(names):
            with self.report.part(name) as part:
                with part.step("runs"):
                    self._check_running(name)
                CONVERSATIONS[self.services[name].protocol].talk(scene, self.services[name], self.report)

    def stop_and_start(self, names: Sequence[str]) -> None:
        """Stop services in the middle of sessions, start them again, and let the sessions end."""
        lingering = self._linger(names, "a stop")
        with self.report.part(SUITE) as part:
            with part.step("stops at once, while sessions go on"):
                self._stop(names)
            for name in names:
                self._check_refusals(name)
            with part.step("starts again at once"):
                self._start(names)
        self._finish(lingering, "a stop and a start")

    def reload(self, names: Sequence[str]) -> None:
        """Reload services in the middle of sessions, and let the sessions end."""
        lingering = self._linger(names, "a reload")
        for name in names:
            with self.report.part(name) as part, part.step("reloads, and greets"):
                config = generation.service_file(self.place.state_dir, name)
                drain_s = self.services[name].stop.drain
                operate.change(self.place, name, Verb.RELOAD, config=config, drain_s=drain_s, tell=_nobody)
                operate.wait_ready(self.place, name, timeout_s=READY_S)
        self._finish(lingering, "a reload")

    def _scene(self, addresses: Sequence[str] = ()) -> Scene:
        services = [*self.services.values()]
        return Scene(
            guests=self.guests,
            services=services,
            authority=self._authority(),
            certificates={one.name: leaf for one in services if (leaf := _leaf(one)) is not None},
            letterbox=smtp.hand_in if smtp.takes_mail(services) else None,
            addresses=addresses,
            declared=self.declared,
        )

    def _authority(self) -> str | None:
        """The CA of tls mode self-signed."""
        folder = certificates.folder(self.place.state_dir)
        shown = {Path(one.tls.certificate).parent for one in self.services.values() if one.tls is not None}
        return str(folder / "ca.pem") if folder in shown else None

    def _as_mail_goes(self, names: Sequence[str]) -> list[str]:
        order = [*CONVERSATIONS]
        return sorted(names, key=lambda name: order.index(self.services[name].protocol))

    def _check_running(self, name: str) -> None:
        """Raises Unexpected."""
        try:
            answer = control.ask(
                control.master_socket(self.place.run, name), {"verb": Verb.STATUS}, timeout_s=_ANSWER_S
            )
        except Transient:
            raise Unexpected("a running service", "none; `postroom status` tells why") from None
        if answer.get("state") != "running":
            raise Unexpected("a running service", f"one that is {answer.get('state')}")

    def _linger(self, names: Sequence[str], before: str) -> dict[str, Lingering]:
        scene = self._scene()
        lingering: dict[str, Lingering] = {}
        for name in names:
            service = self.services[name]
            conversation = CONVERSATIONS[service.protocol]
            title = f"is in the middle of {conversation.doing} before {before}"
            with self.report.part(name) as part:
                if why := _cannot_linger(service, conversation.lingering_clients):
                    part.skip(title, why)
                    continue
                with part.step(title):
                    lingering[name] = conversation.linger(scene, service)
        return lingering

    def _finish(self, lingering: Mapping[str, Lingering], survived: str) -> None:
        for name, one in lingering.items():
            doing = CONVERSATIONS[self.services[name].protocol].doing
            with self.report.part(name) as part, part.step(f"{doing} ends well after {survived}"):
                one.finish()

    def _stop(self, names: Sequence[str]) -> None:
        holds.announce_stop(self.place.state_dir, names, by=BY)
        with Supervisor(self.place.supervisor) as supervisor:
            late = operate.stop(supervisor, names, timeout_s=_STOP_S)
        if late:
            raise Unexpected("a stop that waits for no session", f"{', '.join(late)}: not stopped in {_STOP_S:g} s")

    def _start(self, names: Sequence[str]) -> None:
        with Supervisor(self.place.supervisor) as supervisor:
            for name in names:
                operate.start(supervisor, name, timeout_s=READY_S)
        for name in names:
            operate.wait_ready(self.place, name, timeout_s=READY_S)

    def _check_refusals(self, name: str) -> None:
        for listener in self.services[name].listen:
            where = self.declared.get(listener.address, listener.address)
            with self.report.part(name, where) as part, part.step("refuses new connections while stopped"):
                if _takes_connections(listener):
                    raise Unexpected("a refusal", "a connection")


def _takes_connections(listener: Listener) -> bool:
    """Raises OSError when it does neither take nor refuse one."""
    try:
        socket.create_connection(probe.target(listener), timeout=_ANSWER_S).close()
    except ConnectionRefusedError:
        return False
    return True


def _cannot_linger(service: ServiceConfig, clients: int) -> str | None:
    """Why no `clients` of this service could live through a stop while others begin; None: one could."""
    if service.stop.drain < _SHORTEST_DRAIN_S:
        return f"stop.drain gives it {service.stop.drain:g} s"
    if min(service.limits.connections, service.limits.connections_per_ip) <= clients:
        return f"its limits allow no {clients + 1} connections"
    return None


def _leaf(service: ServiceConfig) -> bytes | None:
    """The certificate (DER) that it has to show; None: it has none, or it cannot be read."""
    if service.tls is None:
        return None
    try:
        text = Path(service.tls.certificate).read_text()
        return ssl.PEM_cert_to_DER_cert(text[text.index(_BEGIN) : text.index(_END) + len(_END)])
    except (OSError, ValueError):
        return None


def _nobody(line: str) -> None:
    """Progress that is in the report already."""
