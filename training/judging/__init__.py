"""How good networks are: metrics, intervals, thresholds, published outputs, tables and figures."""
