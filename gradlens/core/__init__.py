"""What every room stands on: types, names, numbers, tables, files, seeds, processes. Knows no model and no data."""
