"""Reports of a run: tables, curves, redlines and token heat-maps, read from run folders only."""
