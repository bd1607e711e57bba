"""Looking at images: the facts behind lists, inspect, history, diff and explore. Nothing here prints or writes."""
