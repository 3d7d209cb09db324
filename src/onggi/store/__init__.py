"""Docker's on-disk metadata: the file system is the database."""
