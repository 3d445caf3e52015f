"""Pipeline: the stages of a recipe, in order, side by side where they can be."""
