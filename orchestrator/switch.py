"""Performs a plan: one service after the other, each ready and probed before the next.

What it does for a service depends on the plan's action alone. A new supervisord starts its services by the agent in the
same order; whoever is first starts them, and here their readiness is waited for.
"""

import time
from dataclasses import dataclass

from maillib.control import Verb as MasterVerb
from maillib.errors import Transient
from orchestrator import generation, holds, operate, supervisor
from orchestrator.errors import NotReady, SupervisorEnding
from orchestrator.operate import Tell
from orchestrator.place import AGENT, Place
from orchestrator.plan import Action, Plan, Verb, Way
from orchestrator.supervisor import Supervisor

_STOP_GRACE_S = 30.0
"""Beyond its drain limit, how long a stop in the foreground may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """What all steps need."""

    place: Place
    by: str
    """Who does it, for announcements."""
    ready_s: float
    """How long one service may take to become ready."""
    ignore_holds: bool
    tell: Tell

    def run(self, todo: Plan) -> None:
        """Raises MailError at the first step that fails; what was done before it stays done."""
        if not todo.supervised:
            self._wait_for_end()
            supervisor.launch(generation.configuration(self.place.state_dir), self.place.supervisor)
            self.tell("supervisord: started")
        with Supervisor(self.place.supervisor) as client:
            client.reload_config()
            for action in todo.actions:
                self._perform(client, action)

    def _wait_for_end(self) -> None:
        """One that shuts down still has the socket. Raises SupervisorEnding when it takes too long."""
        deadline = time.monotonic() + self.ready_s
        with Supervisor(self.place.supervisor) as client:
            while client.is_ending():
                if time.monotonic() > deadline:
                    raise SupervisorEnding("supervisord is shutting down; it waits for sessions to finish")
                time.sleep(supervisor.POLL_S)

    def _perform(self, client: Supervisor, action: Action) -> None:
        name = action.service
        match action.verb:
            case Verb.REMOVE | Verb.STOP:
                self._end(client, action)
                self.tell(f"{name}: {'removed' if action.verb is Verb.REMOVE else 'stopped'}")
            case Verb.HOLD:
                if action.way is Way.REPLACE:
                    client.remove(name)
                client.add(name)
            case Verb.RELOAD:
                self._change(action, MasterVerb.RELOAD)
                self.tell(f"{name}: reloaded")
            case Verb.RESTART if action.way is Way.IN_PLACE:
                self._change(action, MasterVerb.RESTART)
                self.tell(f"{name}: restarted")
            case Verb.ADD | Verb.START | Verb.RESTART:
                if action.way is Way.REPLACE:
                    self._end(client, action)
                self._begin(client, name)
                self.tell(f"{name}: running")
            case Verb.LIVE | Verb.NONE:
                pass

    def _begin(self, client: Supervisor, name: str) -> None:
        if self.ignore_holds:
            holds.release(self.place.state_dir, [name])
        client.add(name)
        operate.start(client, name, timeout_s=self.ready_s)
        if name != AGENT:
            operate.wait_ready(self.place, name, timeout_s=self.ready_s)

    def _end(self, client: Supervisor, action: Action) -> None:
        """Stop it for good: open sessions finish, its program is forgotten."""
        name = action.service
        holds.announce_stop(self.place.state_dir, [name], by=self.by)
        if name in client.processes():
            operate.stop(client, [name], timeout_s=action.drain_s + _STOP_GRACE_S)
            client.remove(name)
        operate.stop_unsupervised(self.place, [name])

    def _change(self, action: Action, verb: MasterVerb) -> None:
        name = action.service
        config = generation.service_file(self.place.state_dir, name)
        try:
            operate.change(self.place, name, verb, config=config, drain_s=action.drain_s, tell=self.tell)
        except Transient as error:
            raise NotReady(f"{name}: {error}") from None
        operate.wait_ready(self.place, name, timeout_s=self.ready_s)
