"""Masked means, Eq. 1-4, KL, rewards, GAE and PPO losses: pure functions on tensors, no files, no models."""
