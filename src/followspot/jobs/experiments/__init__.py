"""The questions that talks about learning from video end with, as experiments: each gives a table and a figure."""
