"""Time and memory: single stream, offline, server."""
