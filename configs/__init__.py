"""Recipes, the groups they are composed of, and the schema that checks them."""
