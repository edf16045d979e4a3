"""Whole pieces of work on disk: what the command line, the web page and a cluster all start."""
