"""Benchmarks: what this project costs, beside the floor it stands on and a published peer."""
