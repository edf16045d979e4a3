"""The command line: parses before importing torch."""
