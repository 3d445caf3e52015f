"""The self-contained world: true facts, a flawed corpus, an oracle, a minimal editor and a noisy annotator."""
