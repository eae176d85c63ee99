"""One HTML file to explore results with: `mulsr report`."""
