"""The command line: Docker's words, flags, tables and texts over one engine."""
