"""Where a layer's files live and how a stack of layers is mounted."""
