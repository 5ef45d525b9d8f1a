"""What runs on the agent's side of the wall: a supervisor and what it needs, in plain Python.

It is loaded by a bare interpreter inside the sandbox, so these modules import nothing but the
standard library and each other.
"""
