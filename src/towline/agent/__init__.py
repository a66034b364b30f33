"""The agent: Towline's process on a node."""
