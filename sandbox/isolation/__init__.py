"""How an attempt's processes are held: the subreaper under `unsafe-none`, and its side in the supervisor."""
