"""What the command line says and does about sets: `ensure`, `apply`, `set …`."""
