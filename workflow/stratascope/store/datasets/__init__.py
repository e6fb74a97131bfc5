"""Reading labelled texts: files, token ids, hub datasets. To add a format: an entry in ``FORMATS``."""
