"""Watching: a policy that is checked, metrics that are scraped, an alarm when nothing comes."""
