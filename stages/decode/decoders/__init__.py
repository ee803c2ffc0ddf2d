"""Decoders behind one interface."""
