"""Networks of containers: what they are, who has which address, how netavark makes them."""
