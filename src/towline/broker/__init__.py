"""NATS: connections, streams, buckets and the journal."""
