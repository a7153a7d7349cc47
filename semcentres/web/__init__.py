"""The web page: `semcentres serve`. Routes, a session, and a static page over `Model`."""
