"""Text in, text out: whoever answers a prompt."""
