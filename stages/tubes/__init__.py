"""Tubes: from soft masks to label maps, to Parquet, and to other formats."""
