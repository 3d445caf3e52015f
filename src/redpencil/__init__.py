"""redpencil aligns language models from minimal edits (arXiv 2406.02756)."""

__version__ = "0.2.0"
