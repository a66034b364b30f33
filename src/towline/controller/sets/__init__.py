"""Sets: what images ought to be where, and how that is kept true."""
