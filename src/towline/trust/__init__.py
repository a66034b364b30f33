"""Trust: the keys that parts know each other by, and what is signed with them."""
