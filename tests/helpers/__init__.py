"""What tests share beside fixtures, imported as ``helpers.<module>``, also by processes that they start."""
