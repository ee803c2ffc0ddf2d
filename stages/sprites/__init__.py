"""A seed-addressed generator of real video files with exact ground truth."""
