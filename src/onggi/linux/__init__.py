"""What Linux offers and Python does not: the only ctypes of the house, one small module a subject."""
