"""What the grammar speaks of: one module a topic, each with its TEMPLATES."""
