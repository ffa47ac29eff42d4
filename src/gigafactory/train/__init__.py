"""The training program that an engine starts."""
