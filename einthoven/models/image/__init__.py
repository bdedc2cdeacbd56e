"""Models of images of ECGs, a file each."""
