"""The HTTP surface, one module per noun. A route parses, asks, and answers; it holds no logic."""
