"""Pulling images: everything between a task and the Docker Engine that carries it out."""
