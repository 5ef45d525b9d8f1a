"""Turn an environment into something that runs elsewhere: an image or a bundle."""
