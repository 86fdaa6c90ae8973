"""Sources of films: each module turns one kind into film records."""
