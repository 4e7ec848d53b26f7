"""The topics of the grammar: one module each, with its TEMPLATES."""
