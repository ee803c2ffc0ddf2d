"""The page of a run and the page that compares runs: a data model, and self-contained HTML made from it."""
