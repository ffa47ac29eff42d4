"""The brain: events in, actions out; no clock, no dice, no input or output."""
