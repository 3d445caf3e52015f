"""Command line: one command for each arrow of the paper, and one for all of it. Nothing imports this room."""
