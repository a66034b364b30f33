"""The HTTP side of a controller: requests in, answers and streams out."""
