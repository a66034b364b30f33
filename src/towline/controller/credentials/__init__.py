"""The credentials that controllers keep, and give to nodes."""
