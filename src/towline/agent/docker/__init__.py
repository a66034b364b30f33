"""The Docker Engine of a node, and what pulls images onto it."""
