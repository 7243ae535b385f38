"""Mediation: bytes in, clean usage out, each record exactly once, with the units that it adds."""
