"""What controllers and nodes send each other: data and pure rules, no I/O."""
