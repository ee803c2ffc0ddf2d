"""Stores on object stores: a real S3 server on loopback, and a proxy in front of it that fails on demand."""
