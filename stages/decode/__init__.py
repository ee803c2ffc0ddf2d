"""Video to frames: probing, sampling, and decoding in child processes that may crash without harm."""
