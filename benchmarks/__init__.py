"""How fast, how large: one script per question, run by `python -m benchmarks.NAME`. `docs/performance.md` has figures.

Each brings up a suite of its own in a scratch folder, on free ports of the loopback, and takes it down. Load is bounded
in count and time, goes to 127.0.0.1 only, and no process is ended but those that were started here.
"""
