"""Jobs at a controller: made, stored, folded into the index, waited for, steered."""
