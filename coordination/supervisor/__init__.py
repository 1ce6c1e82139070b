"""The running tree: lives of attempts, waits, timers, recovery. It decides nothing that a command can decide."""
