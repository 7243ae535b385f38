"""The embedded engine: one process, no server. It reads files and spools, and commits to one store."""
