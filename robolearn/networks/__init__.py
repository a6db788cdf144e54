"""Networks and the small modules agents are made of."""
