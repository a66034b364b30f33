"""The real parts that the system is tested on: engines, registries, proxies, processes."""
