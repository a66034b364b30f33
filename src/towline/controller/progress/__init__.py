"""How far jobs are, as nodes report it while somebody follows them."""
