"""Training: one update function; SFT, reward models, rollouts and PPO on top of it."""
