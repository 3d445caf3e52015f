"""Minimal editing (section 2.1 of the paper): the request, the answer and the edits that come of it."""
