"""Archives: layers and images as tars. Entries, headers and decisions are pure; each file says what it touches."""
