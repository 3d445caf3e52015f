"""Rewards for the trainers of others: verl and SkyRL."""
