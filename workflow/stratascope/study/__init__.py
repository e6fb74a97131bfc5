"""What to do: schema, config, digests, plan. Pure: no torch, no I/O but reading."""
