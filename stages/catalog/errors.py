"""What goes wrong with a data set as a whole, as opposed to with one of its videos."""

from stages.errors import SettingsError


class CatalogError(SettingsError):
    """The data root does not hold what ``data.kind`` expects; the message says what is missing where."""
