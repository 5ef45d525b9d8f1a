"""Models as data: who serves them, in which dialect, at what price; and how an API is called well.

No SDK is imported here: each dialect's client does that. Agents and the gateway share this.
"""
