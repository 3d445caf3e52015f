"""Readers and writers of the formats that users' data comes in."""
