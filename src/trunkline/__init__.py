"""Trunkline: an operator's usage becomes money, alerts and answers, in seconds."""

__version__ = "0.1.0"
