"""The annotation service: people edit responses in a browser."""
