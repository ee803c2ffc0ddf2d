"""The on-disk form of every result: shards, manifests, rejects, plans and their consolidated index."""
