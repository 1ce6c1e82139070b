"""The builtin harness: a small agent loop in a process of its own. Standard library only, because it runs in cages."""
