"""The controller's routes, one module a domain: each turns requests into calls, and back."""
