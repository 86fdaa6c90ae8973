"""Pictures of results; each function gives a Matplotlib ``Figure`` that knows no global state."""
