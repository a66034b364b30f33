"""What operations do to the images that an engine has."""
