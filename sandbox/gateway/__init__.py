"""The road from a node to a model API: for now its price table and its upstreams; the metering gateway joins here."""
