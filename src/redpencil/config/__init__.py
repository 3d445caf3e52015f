"""The keys of a recipe: each has one home here, with its default and its help text.

`redpencil.recipe` reads recipes from YAML. Names follow TRL where TRL has the option.
"""
