"""The feature store: shard writer, index, range reader and clip samplers.

`writer` writes one shard, `reader.FeatureStore` reads a committed artifact, `samplers` choose clips from it.
"""
