"""Masked pre-training of the video transformer (VOL's stage 1)."""
