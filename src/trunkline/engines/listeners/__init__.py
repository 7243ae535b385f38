"""Listeners: what the network sends by itself is written down durably before anything else is done with it."""
