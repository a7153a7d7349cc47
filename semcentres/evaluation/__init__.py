"""Arrays in, numbers out; `report` draws them."""
