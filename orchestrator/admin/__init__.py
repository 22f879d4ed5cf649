"""Administration: the part of the orchestrator that touches the store."""
