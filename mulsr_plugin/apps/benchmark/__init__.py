"""The comparison of networks over data sets."""
