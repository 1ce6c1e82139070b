"""The builtin agent: a small loop of ours, in a process of its own. Standard library only; it may run inside a cage."""
