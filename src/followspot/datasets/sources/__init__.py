"""Labelled video and photographs of others, read as one thing: videos whose frames show objects."""
