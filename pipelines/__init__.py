"""One entry point: a recipe becomes a short graph of stages that is planned, run and explained."""
