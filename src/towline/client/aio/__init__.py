"""The client for asyncio. That in `sync` is made from it by `scripts/generate-client`."""
