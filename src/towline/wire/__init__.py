"""What controllers and nodes say to each other: data and pure rules, no I/O."""
