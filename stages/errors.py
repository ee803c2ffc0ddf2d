"""Errors that are neither a video's fault nor a bug: settings that can't work."""

from __future__ import annotations


class SettingsError(ValueError):
    """The settings can't work as they are (a missing weights file, a facet a model lacks): exit code 2.

    The message says what is wrong and what to do about it.
    """
