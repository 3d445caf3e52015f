"""Providers of answers to prompts: hosted models and servers, their cache, prices and batches."""
