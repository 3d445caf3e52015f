"""Judges, win rates, reward accuracy, efficiency and localisation: Tables 1 to 3."""
