"""The one pass over the data: batches through the analyzers, whole-batch parts on the disk, a finished Run."""
