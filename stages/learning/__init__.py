"""The one training loop (plain torch), schedules and checkpoints."""
