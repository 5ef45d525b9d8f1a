"""What the runtimes of clouds share: a place's life, the way to its control port, its owner."""
