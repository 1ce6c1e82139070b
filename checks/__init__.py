"""Checks: definitions as data, and the runner that turns one into a verdict (DESIGN §8)."""
