"""Where a history lives."""
