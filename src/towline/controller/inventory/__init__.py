"""What is on which node: folded from what nodes say of it, and asked for where that differs."""
