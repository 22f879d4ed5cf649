"""Performs a plan: one service after the other, each ready and probed before the next.

What it does for a service depends on the plan's action alone; each service, changed or not, then finds its file in the
generation that is switched to. A new supervisord starts its services by the agent in the same order; whoever is first
starts them, from the generation that is switched to, and here their readiness is waited for.

A service that a person stops meanwhile stays stopped: that is no failure.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from maillib import control
from maillib.control import Verb as MasterVerb
from maillib.errors import MailError, Transient
from orchestrator import generation, holds, operate, supervisor
from orchestrator.errors import NotReady, SupervisorEnding
from orchestrator.generation import Generation
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
    """Of each step that is done."""
    doing: Tell
    """Of each step that begins."""
    go_on: Callable[[], None]
    """Asked between two steps; what it raises ends the switch there."""

    def run(self, todo: Plan, target: Generation) -> None:
        """Raises MailError at the first step that fails; what was done before it stays done."""
        generation.load(self.place.state_dir, target)
        if not todo.supervised:
            self._wait_for_end()
            for action in todo.actions:  # the new agent starts services before it is their turn here
                self._point(action, target)
            supervisor.launch(generation.configuration(self.place.state_dir), self.place.supervisor)
            self.tell("supervisord: started")
        with Supervisor(self.place.supervisor) as client:
            client.reload_config()
            for action in todo.actions:
                self.go_on()
                self._switch(client, action, target)
        generation.forget_others(self.place.state_dir, target)

    def _switch(self, client: Supervisor, action: Action, target: Generation) -> None:
        """One service, and what its master is to read from now on."""
        state_dir, name = self.place.state_dir, action.service
        before = self._point(action, target)
        if action.changes:
            self.doing(f"{name}: {action.verb}")
        try:
            self._perform(client, action)
        except MailError:
            if (held := self._held(client, name)) is not None:
                holds.hold(state_dir, name, held)
                self.tell(f"{name}: stopped by hand meanwhile, it stays so")
                return
            if before is not None and action.way not in (Way.START, Way.REPLACE):  # it goes on as it was
                generation.point(state_dir, name, before)
            raise

    def _point(self, action: Action, target: Generation) -> Generation | None:
        """Have the service's master find its file in `target`. Where it found it before."""
        is_wanted = action.service != AGENT and action.verb is not Verb.REMOVE
        return generation.point(self.place.state_dir, action.service, target) if is_wanted else None

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
        for held in action.first:
            operate.let_go(self.place, held.service, held.address)
        match action.verb:
            case Verb.REMOVE | Verb.STOP:
                self._end(client, action)
                if action.verb is Verb.REMOVE:
                    holds.forget(self.place.state_dir, [name])
                self.tell(f"{name}: {'removed' if action.verb is Verb.REMOVE else 'stopped'}")
            case Verb.HOLD:
                # One that was stopped by hand this moment, or while no agent lived, is not written down yet.
                holds.hold(self.place.state_dir, name, holds.by_hand(control.now()))
                if action.way is Way.REPLACE:
                    client.remove(name)
                client.add(name)
            case Verb.LIVE | Verb.RELOAD if action.way is Way.RETUNE:
                self._change(action, MasterVerb.RETUNE)
                self.tell(f"{name}: changed in place")
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

    def _held(self, client: Supervisor, name: str) -> holds.Hold | None:
        """A stop by hand is one, also when nobody has written it down yet. The agent is nobody's to hold."""
        programs = {other: program for other, program in client.processes().items() if other != AGENT}
        return holds.in_force(self.place.state_dir, programs).get(name)

    def _begin(self, client: Supervisor, name: str) -> None:
        client.add(name)
        if self.ignore_holds:
            holds.forget(self.place.state_dir, [name])
        elif self._held(client, name) is not None:
            raise NotReady(f"{name} is held")
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
