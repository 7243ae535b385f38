"""Trunkline's small standard library: what every room may lean on, and nothing from outside."""
