"""What a set of edits is like, before a model learns from it."""
