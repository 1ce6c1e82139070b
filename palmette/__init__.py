"""Palmette: one recursive agent tree out of the coding harnesses people already use."""

__all__ = ["__version__"]

__version__ = "0.1.0"
