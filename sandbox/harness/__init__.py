"""Drivers: how an attempt's harness is started, spoken to and ended, behind coordination's Harness port."""
