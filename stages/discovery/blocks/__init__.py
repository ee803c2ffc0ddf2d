"""Blocks that methods share: projections, the slot-attention family, temporal binders, decoders."""
