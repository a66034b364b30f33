"""What can be asked of a controller itself, by domain."""
