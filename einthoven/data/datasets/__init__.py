"""The datasets that are known: one file each, one table of all, recognised by what lies in the folder."""
