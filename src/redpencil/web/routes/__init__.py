"""The HTTP operations and pages of the annotation service."""
