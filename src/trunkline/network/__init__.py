"""The network room: telemetry in; KPIs, anomalies, alarms, incidents and the map's tiles out."""
