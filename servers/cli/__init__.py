"""The command line: a client of the operator API that prints."""
