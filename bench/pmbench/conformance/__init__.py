"""Whether protocols pass through pmctl as they do without it: only differences count."""
