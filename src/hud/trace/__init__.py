"""What runs did: steps and traces as data, the recorder, and where steps go."""
