"""A typed client of a platform's HTTP API: ours, or any other that speaks the same calls.

`calls` says what can be asked, `client` asks it. Nothing is asked unless something names a
platform.
"""
