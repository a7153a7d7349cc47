"""Images with class names: where they come from, how they are split, in which order they come."""
