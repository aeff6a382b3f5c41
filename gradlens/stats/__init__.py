"""Statistics of one number an image, in numpy; every function says how to read it."""
