"""What a controller and an agent make of hostile messages, on a real broker."""
