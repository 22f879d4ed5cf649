"""The conversation with a spool service, which has no listener: what is queued arrives in the mailbox."""

from maillib.settings.service import ServiceConfig
from orchestrator.rehearse.conversation import Letter, Lingering, Scene
from orchestrator.rehearse.report import Report


class Spool:
    """Deals with services of protocol spool."""

    doing = "delivery"
    lingering_clients = 0

    def talk(self, scene: Scene, service: ServiceConfig, report: Report) -> None:
        with report.part(service.name) as part, part.step("delivers what is queued"):
            scene.deliver(Letter.new(scene.guests.new()))

    def linger(self, scene: Scene, service: ServiceConfig) -> Lingering:
        return _Queued(scene)


class _Queued:
    """A message that was queued just before."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._letter = Letter.new(scene.guests.new())
        self._queue_id = scene.queue(self._letter)

    def finish(self) -> None:
        self._scene.arrived(self._letter.guest, self._queue_id)
