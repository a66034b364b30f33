"""How the tasks of a job get their turns."""
