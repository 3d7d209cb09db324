"""The registry client: where an image is, who we are there, and its bytes."""
