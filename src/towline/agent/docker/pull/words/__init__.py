"""What engines, stores, proxies and registries say of pulls that fail, and what it means."""
