"""Building images: the Dockerfile language (pure), the plan of its stages (pure), and their execution."""
