"""Shooting at a real run from outside, and judging what it made of it."""
