"""Directory trees of layers: apply an archive to one, measure one, mark what is deleted."""
