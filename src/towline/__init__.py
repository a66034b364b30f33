"""Towline: put container images on machines, and run a fleet of Linux hosts over one API."""

__version__ = "0.1.0"
