"""What the audit does of itself: chains, floods, and what was tampered with."""
