"""Other stacks that serve create, get and list of the native API on the same tables, for comparison.

Each has the limiter, a durable job for each generation, and responses equal to LockN Gen's. They have no retries,
quotas, fair share, progress of a running render, signed addresses that are checked, or checks of hosts and queries.
"""
