"""Who is asked, in which order, under which policy: a backend made of backends."""
