"""From two texts to word edits and token masks (sections 2.1 and 2.2 of the paper)."""
