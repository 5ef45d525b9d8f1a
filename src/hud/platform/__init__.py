"""The platform: one server that records, serves models, and compares; embedded by default.

`app` puts it together, `serving` runs it, `routes` is its HTTP surface. What it keeps is the same
store that evals record into.
"""
