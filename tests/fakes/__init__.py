"""Servers that really run, in place of those that a test cannot have."""
