"""Images: the engine that builds and runs them, and how an environment becomes one."""
