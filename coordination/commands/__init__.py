"""Every decision of the tree: a command takes a transaction, may refuse, and else appends events (never anything else).

Commands run one after another inside the store, so what they read is what holds when their events are written.
"""
