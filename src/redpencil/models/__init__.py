"""Models: loading, batches, forward passes and sampling. Checkpoints are plain Hugging Face folders."""
