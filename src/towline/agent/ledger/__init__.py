"""What an agent has accepted, how it ended, and what no controller has stored yet."""

from towline.agent.ledger.ledger import Ledger, Unfinished, until

__all__ = ["Ledger", "Unfinished", "until"]
