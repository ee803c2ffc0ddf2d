"""Methods that find objects in cached features: one file per method on shared blocks.

`contract` says what a method is; `registry` knows them all; neither imports torch.
"""
