"""Environments as they were built: what is made of an upload, and where it runs."""
