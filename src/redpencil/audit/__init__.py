"""The audit of a set of edits, before a model learns from it."""
