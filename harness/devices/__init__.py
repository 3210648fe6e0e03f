"""What a device is, and the two there are."""
