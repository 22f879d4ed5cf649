"""Engine two: everything in one process's memory, for tests and to keep the ports honest. Nothing survives it."""
