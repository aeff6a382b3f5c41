"""What a Python session adds to a Run and a Probe: figures, pages in notebooks, a look again."""
