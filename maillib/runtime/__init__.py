"""Masters, workers and their connections: everything that touches processes, listeners, TLS and signals.

Handlers are injected: a worker script in `workers/` gives `program.main` a function that builds its `Service`; the
runtime accepts, limits, registers and drains connections and never knows what they say.
"""
