"""Pure values: digests, references, platforms, manifests, image configs. No I/O."""
