"""The audit: who has changed something, and who was refused, in chains that show what is amiss."""
