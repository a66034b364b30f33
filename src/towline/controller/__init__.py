"""The controller: the process that serves the HTTP API."""
