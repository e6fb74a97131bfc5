"""What lies on disk: run folders, tensor files, atomic commits, identities of model folders."""
