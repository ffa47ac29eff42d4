"""The twin: a whole campaign on the full cluster, with the real controller inside."""
