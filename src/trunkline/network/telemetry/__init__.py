"""Telemetry in: what elements, devices and customer care send becomes measurements and events, or is set aside."""
